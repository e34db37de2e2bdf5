use std::collections::BTreeMap;
use std::path::Path;

use durable_files::hash_bytes;
use project_files::{HubRelease, Manifest, RELEASED_FILES, Version};

use crate::hub::{self, Hub, Refs};
use crate::place::{Place, Stage};
use crate::{Bundle, Error, Result};

const MAIN: &str = "main";

/// A repository on the Hub: a tag a version, and `main`, which holds the version in use. A release grows on a branch of its own.
#[derive(Debug, Clone)]
pub struct HubPlace {
    hub: Hub,
    repo: String,
    is_private: bool,
}

impl HubPlace {
    /// The repository `repo`, which is made if there is none, private if so wished.
    pub fn new(hub: Hub, repo: &str, is_private: bool) -> Self {
        Self { hub, repo: repo.to_owned(), is_private }
    }

    /// The repository, `owner/name`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Empty where there is no repository yet.
    fn refs(&self) -> Result<Refs> {
        match self.hub.refs(&self.repo) {
            Err(error) if error.status() == Some(404) => Ok(Refs::default()),
            refs => Ok(refs?),
        }
    }

    fn manifest_at(&self, commit: &str) -> Result<Option<Manifest>> {
        match self.hub.download(&self.repo, commit, Manifest::FILE) {
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error.into()),
            Ok(bytes) => Ok(Some(Manifest::open(&Path::new(&self.repo).join(Manifest::FILE), &bytes)?)),
        }
    }

    /// Version and identity of what a commit holds; `None` where it is no release.
    fn identity(&self, commit: &str) -> Result<Option<(String, String)>> {
        match self.manifest_at(commit) {
            Ok(manifest) => Ok(manifest.map(|manifest| (manifest.version, manifest.id))),
            Err(Error::Contract(_)) => Ok(None), // somebody else's file of that name
            Err(error) => Err(error),
        }
    }

    fn taken_by_another(&self, version: &str) -> Error {
        Error::Taken { version: version.to_owned(), place: self.title() }
    }

    /// The commit of a version's tag, if it is this release.
    fn named(&self, refs: &Refs, bundle: &Bundle) -> Result<Option<String>> {
        let Some((_, commit)) = tag_of(refs, &bundle.version) else { return Ok(None) };
        let is_ours = match &bundle.id {
            Some(id) => self.identity(commit)?.is_some_and(|(_, found)| found == *id),
            None => bundle.hub.as_ref().is_some_and(|hub| hub.commit == *commit),
        };
        if is_ours { Ok(Some(commit.clone())) } else { Err(self.taken_by_another(&bundle.version)) }
    }

    /// Gives the head of a release's branch, once it is seen to be whole, the name of the version; the commit that has it.
    fn tag(&self, bundle: &Bundle, head: &str) -> Result<String> {
        let public = bundle.public();
        let is_whole =
            self.hub.is_exactly(&self.repo, head, &public)? && self.hub.holds(&self.repo, head, &public)?;
        if !is_whole {
            return Err(Error::Corrupt { what: self.title(), version: bundle.version.clone() });
        }
        match self.hub.tag(&self.repo, &bundle.version, head, &format!("Release {}", bundle.version)) {
            Err(hub::Error::Exists { .. }) => {
                Ok(self.named(&self.refs()?, bundle)?.unwrap_or_else(|| head.to_owned()))
            }
            tagged => Ok(tagged.map(|()| head.to_owned())?),
        }
    }

    /// The files of a commit that its manifest lists and that go to the Hub, with the signature.
    fn listed(&self, commit: &str, manifest: &Manifest) -> Result<BTreeMap<String, Vec<u8>>> {
        let stays = |name: &str| RELEASED_FILES.iter().any(|file| file.name == name && !file.is_public);
        let mut files = BTreeMap::new();
        if manifest.signed_by.is_some() {
            let signature = self.hub.download(&self.repo, commit, Manifest::SIGNATURE)?;
            files.insert(Manifest::SIGNATURE.to_owned(), signature);
        }
        for (name, expected) in manifest.files.iter().filter(|(name, _)| !stays(name)) {
            let content = self.hub.download(&self.repo, commit, name)?;
            if hash_bytes(&content) != *expected {
                return Err(Error::Corrupt { what: name.clone(), version: manifest.version.clone() });
            }
            files.insert(name.clone(), content);
        }
        Ok(files)
    }

    /// Refuses a head on which another release of the same version stands.
    fn check_head(&self, bundle: &Bundle, head: &str) -> Result<bool> {
        match self.identity(head)? {
            Some((_, id)) if Some(&id) == bundle.id.as_ref() => Ok(true),
            Some((version, _)) if version == bundle.version => Err(self.taken_by_another(&version)),
            _ => Ok(false),
        }
    }
}

fn branch_of(version: &str) -> String {
    format!("release-{version}")
}

/// The tag of a version under any of its spellings.
fn tag_of<'a>(refs: &'a Refs, version: &str) -> Option<(&'a String, &'a String)> {
    let wanted = Version::parse(version);
    refs.tags.iter().find(|(tag, _)| *tag == version || wanted.is_some() && Version::parse(tag) == wanted)
}

impl Place for HubPlace {
    fn title(&self) -> String {
        self.hub.page(&self.repo)
    }

    fn taken(&self) -> Result<BTreeMap<Version, String>> {
        let refs = self.refs()?;
        let mut taken = BTreeMap::new();
        for tag in refs.tags.keys() {
            taken.extend(Version::parse(tag).map(|version| (version, tag.clone())));
        }
        for (branch, head) in &refs.branches {
            let Some(version) = branch.strip_prefix("release-").and_then(Version::parse) else { continue };
            if !taken.contains_key(&version)
                && let Some((found, _)) = self.identity(head)?
                && Version::parse(&found) == Some(version)
            {
                taken.insert(version, found);
            }
        }
        Ok(taken)
    }

    fn manifest(&self, version: &str) -> Result<Option<Manifest>> {
        let refs = self.refs()?;
        let missing = || Error::NoVersion { version: version.to_owned(), place: self.title() };
        let (_, commit) = tag_of(&refs, version).ok_or_else(missing)?;
        self.manifest_at(commit)
    }

    fn stage(&self, bundle: &Bundle) -> Result<Stage> {
        let refs = self.refs()?;
        if self.named(&refs, bundle)?.is_some() {
            let is_live = match refs.branches.get(MAIN) {
                Some(head) => self.hub.is_exactly(&self.repo, head, &bundle.public())?,
                None => false,
            };
            return Ok(if is_live { Stage::Live } else { Stage::Named });
        }
        match refs.branches.get(&branch_of(&bundle.version)) {
            Some(head) if self.check_head(bundle, head)? => Ok(Stage::Stored),
            _ => Ok(Stage::Absent),
        }
    }

    /// The commit claims the version: it is made on a head that holds no other release of it, or not at all.
    fn store(&self, bundle: &Bundle) -> Result<()> {
        self.hub.create_repository(&self.repo, self.is_private)?;
        let main = self.hub.head(&self.repo, MAIN)?;
        let branch = branch_of(&bundle.version);
        self.hub.create_branch(&self.repo, &branch, &main)?;
        let summary = format!("Release {}", bundle.version);
        let check = |head: &str| self.check_head(bundle, head).map(drop);
        self.hub.replace::<Error>(&self.repo, &branch, &bundle.public(), &summary, &check)?;
        Ok(())
    }

    fn name(&self, bundle: &Bundle) -> Result<Option<HubRelease>> {
        let refs = self.refs()?;
        let branch = branch_of(&bundle.version);
        let commit = match (self.named(&refs, bundle)?, refs.branches.get(&branch)) {
            (Some(commit), _) => commit,
            (None, None) => {
                return Err(
                    hub::Error::Missing { what: format!("the branch `{branch}` of {}", self.repo) }.into()
                );
            }
            (None, Some(head)) => self.tag(bundle, head)?,
        };
        Ok(Some(HubRelease { repo: self.repo.clone(), commit, tag: bundle.version.clone() }))
    }

    fn load(&self, version: &str) -> Result<Bundle> {
        let refs = self.refs()?;
        let no_version = || Error::NoVersion { version: version.to_owned(), place: self.title() };
        let (tag, commit) = tag_of(&refs, version).ok_or_else(no_version)?;
        let bytes = match self.hub.download(&self.repo, commit, Manifest::FILE) {
            Err(error) if error.status() == Some(404) => return Err(no_version()),
            bytes => bytes?,
        };
        let manifest = Manifest::open(&Path::new(&self.repo).join(Manifest::FILE), &bytes)?;
        let mut files = self.listed(commit, &manifest)?;
        files.insert(Manifest::FILE.to_owned(), bytes);
        let hub = HubRelease { repo: self.repo.clone(), commit: commit.clone(), tag: tag.clone() };
        Ok(Bundle { version: manifest.version, id: Some(manifest.id), hub: Some(hub), files })
    }

    fn live(&self) -> Result<Option<String>> {
        match self.refs()?.branches.get(MAIN) {
            Some(head) => Ok(self.identity(head)?.map(|(version, _)| version)),
            None => Ok(None),
        }
    }

    /// The commit is made on a head that `check` has seen, or not at all.
    fn make_live(&self, bundle: &Bundle, check: &dyn Fn(&str) -> Result<()>) -> Result<()> {
        let summary = format!("Put {} in use", bundle.version);
        let check = |head: &str| match self.identity(head)? {
            Some((live, _)) => check(&live),
            None => Ok(()),
        };
        self.hub.replace::<Error>(&self.repo, MAIN, &bundle.public(), &summary, &check)?;
        Ok(())
    }

    /// The branches that releases grow on.
    fn left_over(&self) -> Result<Vec<(String, bool)>> {
        let refs = self.refs()?;
        let versions = refs.branches.keys().filter_map(|branch| branch.strip_prefix("release-"));
        Ok(versions.map(|version| (version.to_owned(), tag_of(&refs, version).is_some())).collect())
    }

    /// Removes the branch that a release grew on, once it has its tag.
    fn tidy(&self, version: &str) -> Result<()> {
        let refs = self.refs()?;
        let branch = branch_of(version);
        if refs.branches.contains_key(&branch) && tag_of(&refs, version).is_some() {
            self.hub.delete_branch(&self.repo, &branch)?;
        }
        Ok(())
    }

    fn give_up(&self, bundle: &Bundle) -> Result<()> {
        let refs = self.refs()?;
        let branch = branch_of(&bundle.version);
        let is_named = tag_of(&refs, &bundle.version).is_some();
        if let Some(head) = refs.branches.get(&branch).filter(|_| !is_named)
            && self.check_head(bundle, head)?
        {
            self.hub.delete_branch(&self.repo, &branch)?;
        }
        Ok(())
    }
}
