//! No files import each other in a circle: a crate can be read from its leaves up.
//!
//! The graph is made from paths that start with `crate`, `self` or `super`, in `use` and elsewhere; a name that a module brings in
//! from another one leads on to where it is defined. A module and the files of its own folder count as one where they only share
//! names downwards and upwards. Tests do not count.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

type Module = Vec<String>;

/// A name that a module brings in, and the path it stands for.
type Names = BTreeMap<String, Module>;

#[derive(Default)]
struct Graph {
    /// Paths in each module.
    paths: BTreeMap<Module, BTreeSet<Module>>,
    /// What `use` brings in.
    names: BTreeMap<Module, Names>,
}

/// The paths of one file.
struct Paths<'a> {
    module: &'a Module,
    modules: &'a BTreeSet<Module>,
    found: BTreeSet<Module>,
    names: Names,
    /// Modules inside the file around the present place.
    inline: usize,
    /// Whether names are only passed on: a façade does not depend on what it shows.
    passes_on: bool,
}

impl Paths<'_> {
    /// The path from the root of the crate, of one that starts with `crate`, `self`, `super` or the name of a child.
    fn absolute(&self, segments: &[String]) -> Option<Module> {
        let (first, rest) = segments.split_first()?;
        if self.inline > 0 && first != "crate" {
            return None; // between the modules of one file
        }
        let mut at = match first.as_str() {
            "crate" => Module::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().checked_sub(1)?].to_vec(),
            name => {
                let child = [self.module.as_slice(), &[name.to_owned()]].concat();
                if !self.modules.contains(&child) {
                    return None;
                }
                child
            }
        };
        for segment in rest {
            if segment == "super" {
                at.pop()?;
            } else {
                at.push(segment.clone());
            }
        }
        Some(at)
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => {
                let name = before.last().cloned().unwrap_or_default();
                self.bring_in(before, name);
            }
            syn::UseTree::Name(name) => self.bring_in(&with(&name.ident), name.ident.to_string()),
            syn::UseTree::Rename(rename) => self.bring_in(&with(&rename.ident), rename.rename.to_string()),
            syn::UseTree::Glob(_) => self.bring_in(before, String::new()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(before, item)),
        }
    }

    fn bring_in(&mut self, path: &[String], name: String) {
        if let Some(path) = self.absolute(path) {
            self.names.insert(name, path.clone());
            if !self.passes_on {
                self.found.insert(path);
            }
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_test(attributes) {
            return;
        }
        let inline = usize::from(matches!(item, syn::Item::Mod(module) if module.content.is_some()));
        self.inline += inline;
        visit::visit_item(self, item);
        self.inline -= inline;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.passes_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.tree(&[], &item.tree);
        self.passes_on = false;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1
            && ["crate", "self", "super"].contains(&segments[0].as_str())
            && let Some(path) = self.absolute(&segments)
        {
            self.found.insert(path);
        }
        visit::visit_path(self, path);
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() && name != "tests" && name != "bin" {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && name != "main.rs"
            && name != "tests.rs"
            && !name.ends_with("_tests.rs")
        {
            found.push(path);
        }
    }
}

fn module_of(source: &Path, file: &Path) -> Module {
    let relative = file.strip_prefix(source).expect("a file below the sources").with_extension("");
    let mut module: Module = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

impl Graph {
    fn of(source: &Path) -> Self {
        let mut found = Vec::new();
        files(source, &mut found);
        let modules: BTreeSet<Module> = found.iter().map(|file| module_of(source, file)).collect();
        let mut graph = Self::default();
        for file in &found {
            let module = module_of(source, file);
            let text = std::fs::read_to_string(file).expect("a source file");
            let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut paths = Paths {
                module: &module,
                modules: &modules,
                found: BTreeSet::new(),
                names: Names::new(),
                inline: 0,
                passes_on: false,
            };
            paths.visit_file(&parsed);
            let Paths { found: paths, names, .. } = paths;
            graph.names.insert(module.clone(), names);
            graph.paths.insert(module, paths);
        }
        graph
    }

    /// The file in which a path ends: its name is followed to where it is defined.
    fn home(&self, path: &Module, depth: usize) -> Option<Module> {
        let length = (0..=path.len()).rev().find(|length| self.paths.contains_key(&path[..*length]))?;
        let module = path[..length].to_vec();
        let Some(name) = path.get(length) else { return Some(module) };
        let brought = self.names.get(&module).and_then(|names| names.get(name));
        match brought {
            Some(from) if depth < 8 && from != path => {
                let on = [from.as_slice(), &path[length + 1..]].concat();
                self.home(&on, depth + 1)
            }
            _ => Some(module),
        }
    }

    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let ends = |module: &Module, paths: &BTreeSet<Module>| {
            let homes = paths.iter().filter_map(|path| self.home(path, 0));
            homes.filter(|home| home != module).collect::<BTreeSet<Module>>()
        };
        self.paths.iter().map(|(module, paths)| (module.clone(), ends(module, paths))).collect()
    }

    /// Groups of files that reach each other (Tarjan's components, by reachability: the graphs are small).
    fn circles(&self) -> Vec<Vec<Module>> {
        let edges = self.edges();
        let reach = |start: &Module| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(at) = open.pop() {
                for next in edges.get(&at).into_iter().flatten() {
                    if seen.insert(next.clone()) {
                        open.push(next.clone());
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&Module, BTreeSet<Module>> =
            edges.keys().map(|module| (module, reach(module))).collect();
        let mut circles: BTreeSet<Vec<Module>> = BTreeSet::new();
        for (module, all) in &reached {
            let circle: Vec<Module> = all
                .iter()
                .filter(|other| reached.get(other).is_some_and(|back| back.contains(*module)))
                .cloned()
                .collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }
}

/// Whether all are one folder's module and its files.
fn is_one_folder(circle: &[Module]) -> bool {
    let shortest = circle.iter().min_by_key(|module| module.len()).expect("a circle has members");
    circle.iter().all(|module| {
        module == shortest || module.len() == shortest.len() + 1 && module.starts_with(shortest)
    }) && !shortest.is_empty()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut problems = Vec::new();
    for krate in std::fs::read_dir(crates).expect("crates").map(|entry| entry.expect("a crate").path()) {
        let name = krate.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let graph = Graph::of(&krate.join("src"));
        let edges = graph.edges();
        for circle in graph.circles().into_iter().filter(|circle| !is_one_folder(circle)) {
            for from in &circle {
                let to = edges[from].iter().filter(|to| circle.contains(to));
                problems
                    .extend(to.map(|to| format!("{name}: {} imports {}", from.join("::"), to.join("::"))));
            }
        }
    }
    assert!(problems.is_empty(), "files import each other:\n{}", problems.join("\n"));
}

#[test]
fn a_circle_is_found_through_names_that_a_module_passes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |file: &str, text: &str| {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("lib.rs", "mod a; mod b; pub use a::A;");
    write("a.rs", "use crate::b::B; pub struct A(B);");
    write("b.rs", "use crate::A; pub struct B(Option<Box<A>>);");
    let circles = Graph::of(dir.path()).circles();
    assert_eq!(circles, [[vec!["a".to_owned()], vec!["b".to_owned()]]]);
    write("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::A; }");
    assert!(Graph::of(dir.path()).circles().is_empty());
}
