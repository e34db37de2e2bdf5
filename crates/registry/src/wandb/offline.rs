//! The service's offline file: a LevelDB-style log of protobuf records, which its `wandb sync` uploads.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{RunInfo, WandbConfig};

/// A history line: its items as JSON texts, so that `NaN` and `Infinity` can be written as the service takes them.
pub(super) type Line = Vec<(String, String)>;

const BLOCK: usize = 32 * 1024;
const CHUNK_HEADER: usize = 7;
const FILE_HEADER: [u8; 7] = [b':', b'W', b'&', b'B', 0xE1, 0xBE, 0];

/// An offline file that comes to be with its first record.
pub(super) struct OfflineFile {
    dir: PathBuf,
    run: Vec<u8>,
    run_id: String,
    open: Option<Log>,
}

struct Log {
    folder: PathBuf,
    file: BufWriter<File>,
    position: usize,
    records: u64,
}

impl OfflineFile {
    /// Plans a file for a run; nothing is written yet.
    pub(super) fn planned(dir: &Path, config: &WandbConfig, info: &RunInfo) -> Self {
        let mut run = Vec::new();
        text(&mut run, 1, &info.id);
        if !config.entity.is_empty() {
            text(&mut run, 2, &config.entity);
        }
        text(&mut run, 3, &config.project);
        let mut settings = Vec::new();
        for (key, value) in &info.config {
            let mut update = Vec::new();
            text(&mut update, 1, key);
            text(&mut update, 16, &value.to_string());
            bytes(&mut settings, 1, &update);
        }
        bytes(&mut run, 4, &settings);
        text(&mut run, 7, "train");
        text(&mut run, 8, if config.name.is_empty() { &info.id } else { &config.name });
        for tag in &config.tags {
            text(&mut run, 10, tag);
        }
        text(&mut run, 13, &info.host);
        Self { dir: dir.to_owned(), run, run_id: info.id.clone(), open: None }
    }

    /// The folder to sync, once something was written.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.open.as_ref().map(|log| log.folder.clone())
    }

    pub(super) fn history(&mut self, line: &Line) -> io::Result<()> {
        let mut history = Vec::new();
        for (key, value) in line {
            let mut item = Vec::new();
            text(&mut item, 1, key);
            text(&mut item, 16, value);
            bytes(&mut history, 1, &item);
        }
        self.record(2, &history)
    }

    pub(super) fn console(&mut self, line: &str) -> io::Result<()> {
        let mut output = Vec::new();
        text(&mut output, 3, &format!("{line}\n"));
        self.record(13, &output)
    }

    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.log()?.folder.join("files").join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, content)?;
        let (mut item, mut files) = (Vec::new(), Vec::new());
        text(&mut item, 1, name);
        bytes(&mut files, 1, &item);
        self.record(6, &files)
    }

    pub(super) fn exit(&mut self, code: i32) -> io::Result<()> {
        let mut exit = Vec::new();
        if code != 0 {
            varint(&mut exit, 1 << 3);
            varint(&mut exit, u64::from(code.unsigned_abs()));
        }
        self.record(18, &exit)?;
        self.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.open.as_mut().map_or(Ok(()), |log| log.file.flush())
    }

    fn record(&mut self, field: u64, content: &[u8]) -> io::Result<()> {
        self.log()?.record(field, content)
    }

    fn log(&mut self) -> io::Result<&mut Log> {
        if self.open.is_none() {
            let mut log = Log::create(&self.dir, &self.run_id)?;
            let mut version = Vec::new();
            text(&mut version, 1, env!("CARGO_PKG_VERSION"));
            let mut header = Vec::new();
            bytes(&mut header, 1, &version);
            log.record(21, &header)?;
            log.record(17, &self.run)?;
            log.file.flush()?;
            self.open = Some(log);
        }
        self.open.as_mut().ok_or_else(|| io::Error::other("the offline file did not open"))
    }
}

impl Log {
    fn create(dir: &Path, run_id: &str) -> io::Result<Self> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let time = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(0)).unwrap_or_default();
        let folder = dir.join(format!("offline-run-{}-{run_id}", time.strftime("%Y%m%d_%H%M%S")));
        std::fs::create_dir_all(folder.join("files"))?;
        let mut file = BufWriter::new(File::create(folder.join(format!("run-{run_id}.wandb")))?);
        file.write_all(&FILE_HEADER)?;
        Ok(Self { folder, file, position: FILE_HEADER.len(), records: 0 })
    }

    fn record(&mut self, field: u64, content: &[u8]) -> io::Result<()> {
        let mut record = Vec::new();
        self.records += 1;
        varint(&mut record, 1 << 3);
        varint(&mut record, self.records);
        bytes(&mut record, field, content);
        let mut rest: &[u8] = &record;
        let mut first = true;
        loop {
            let left = BLOCK - self.position % BLOCK;
            if left < CHUNK_HEADER {
                self.write(&[0; CHUNK_HEADER][..left])?;
                continue;
            }
            let (chunk, after) = rest.split_at(rest.len().min(left - CHUNK_HEADER));
            let kind = match (first, after.is_empty()) {
                (true, true) => 1u8,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&[kind]);
            hasher.update(chunk);
            self.write(&hasher.finalize().to_le_bytes())?;
            self.write(&(chunk.len() as u16).to_le_bytes())?; // at most 32 KiB
            self.write(&[kind])?;
            self.write(chunk)?;
            (rest, first) = (after, false);
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.position += content.len();
        self.file.write_all(content)
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7F) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn text(out: &mut Vec<u8>, field: u64, content: &str) {
    bytes(out, field, content.as_bytes());
}
