use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use durable_files::{FileLock, write_json_private};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use slide_data::{Contract, sha256_hex};
use subtle::ConstantTimeEq;

use crate::error::io_error;
use crate::{Error, Result, clean_name};

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Rates slides.
    Annotator,
    /// Rates, sees everybody's progress and agreement, decides disputes, invites.
    Lead,
}

/// A signed-in person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Their name, in its one spelling.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// An invitation: whoever has its token is this person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invitation {
    /// Names the invitation.
    pub id: String,
    /// Whom it is for.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// SHA-256 of the token; the token itself is kept nowhere.
    pub token_sha256: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on nobody gets in by it; never where there is none. Who is in by then stays in.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// How often somebody got in by it.
    #[serde(default)]
    pub uses: u32,
    /// When somebody last did.
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
}

impl Invitation {
    /// Whether nobody gets in by it any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// What a token was good for.
#[derive(Debug)]
pub enum Accepted {
    /// The person is in; with the session's secret.
    In(Person, String),
    /// It is the token of an invitation that has expired.
    Expired,
    /// More people got in by this invitation within a minute than one person has browsers.
    TooOften,
    /// No invitation has it.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Session {
    secret_sha256: String,
    name: String,
    role: Role,
    /// The invitation it came from; none for a person at the machine itself.
    #[serde(default)]
    invitation: Option<String>,
    created_at: Timestamp,
}

/// `data/labeled/people.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PeopleFile {
    schema_version: u32,
    #[serde(default)]
    invitations: Vec<Invitation>,
    #[serde(default)]
    sessions: Vec<Session>,
}

/// Invitations and sessions, kept in `data/labeled/people.json` (readable by its owner only).
#[derive(Debug)]
pub struct People {
    path: PathBuf,
    /// Read by every request, so never held while the disk is written.
    file: RwLock<PeopleFile>,
    writing: Mutex<()>,
}

/// Sessions end after this many days without a new sign-in.
const SESSION_DAYS: i64 = 90;
/// When there are more, the oldest go of whoever has most.
const MAX_SESSIONS: usize = 1000;
/// When a person has more, their own oldest go: nobody can crowd others out.
const MAX_SESSIONS_OF_PERSON: usize = 20;
/// So many sign-ins by one invitation in a minute are a mistake or an attack.
const MAX_SIGN_INS: usize = 10;

impl People {
    /// Reads the file; one that does not exist is empty.
    ///
    /// # Errors
    /// When it cannot be read or is not what it should be.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), file: RwLock::new(read(path)?), writing: Mutex::default() })
    }

    fn file(&self) -> RwLockReadGuard<'_, PeopleFile> {
        self.file.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, file: PeopleFile) {
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// Reads the file again and changes it under a lock: the server and `pq-label invite` may do so at the same time.
    fn change<T>(&self, change: impl FnOnce(&mut PeopleFile) -> Result<T>) -> Result<T> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        }
        let _lock = FileLock::exclusive(&self.path)?;
        let mut file = read(&self.path)?;
        let made = change(&mut file)?;
        write_json_private(&self.path, &file)?;
        self.set(file);
        Ok(made)
    }

    /// Takes up what another process has changed.
    fn look_again(&self) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(read(&self.path)?);
        Ok(())
    }

    /// Invites a person and returns the token of their link, which lets in for `days`, or for ever.
    ///
    /// # Errors
    /// When the name is not usable, the system gives no random numbers, or the file cannot be written.
    pub fn invite(&self, name: &str, role: Role, days: Option<u32>) -> Result<(Invitation, String)> {
        let token = random_hex()?;
        let id = random_hex()?[..12].to_owned();
        let now = Timestamp::now();
        let end = |days: u32| now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok();
        let expires_at = days.map(|days| end(days).unwrap_or(Timestamp::MAX));
        self.change(|file| {
            let invitation = Invitation {
                id,
                name: file.known_spelling(name)?,
                role,
                token_sha256: sha256_hex(token.as_bytes()),
                created_at: now,
                expires_at,
                uses: 0,
                last_used_at: None,
            };
            file.invitations.push(invitation.clone());
            Ok((invitation, token))
        })
    }

    /// The invitations that hold.
    pub fn invitations(&self) -> Vec<Invitation> {
        self.file().invitations.clone()
    }

    /// Withdraws an invitation and ends the sessions that came from it. Says whether there was one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn revoke(&self, id: &str) -> Result<bool> {
        self.change(|file| {
            let before = file.invitations.len();
            file.invitations.retain(|invitation| invitation.id != id);
            file.sessions.retain(|session| session.invitation.as_deref() != Some(id));
            Ok(file.invitations.len() < before)
        })
    }

    /// Whether a token is that of an invitation, as far as is known without looking at the file.
    pub fn holds(&self, token: &str) -> bool {
        self.file().invitation(&sha256_hex(token.as_bytes())).is_some()
    }

    /// Signs in with an invitation's token. Every invitation is compared, each in constant time.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn accept(&self, token: &str) -> Result<Accepted> {
        let digest = sha256_hex(token.as_bytes());
        // Another process may have invited or withdrawn meanwhile.
        self.look_again()?;
        let Some(Invitation { id, name, role, .. }) = self.file().invitation(&digest).cloned() else {
            return Ok(Accepted::Unknown);
        };
        self.start(Person { name, role }, Some(id))
    }

    /// Signs in a person at the machine itself, by name. They lead: the files are theirs anyway.
    ///
    /// # Errors
    /// When the name is not usable or the file cannot be written.
    pub fn sign_in_locally(&self, name: &str) -> Result<Accepted> {
        self.look_again()?;
        let name = self.file().known_spelling(name)?;
        self.start(Person { name, role: Role::Lead }, None)
    }

    fn start(&self, person: Person, invitation: Option<String>) -> Result<Accepted> {
        let secret = random_hex()?;
        let now = Timestamp::now();
        let session = Session {
            secret_sha256: sha256_hex(secret.as_bytes()),
            name: person.name.clone(),
            role: person.role,
            invitation: invitation.clone(),
            created_at: now,
        };
        self.change(|file| {
            if let Some(refused) = invitation.and_then(|id| file.use_invitation(&id, now)) {
                return Ok(refused);
            }
            file.add(session);
            Ok(Accepted::In(person, secret))
        })
    }

    /// The person of a session; sessions of the machine itself count only where `local` ones are allowed.
    pub fn session(&self, secret: &str, allows_local: bool) -> Option<Person> {
        let digest = sha256_hex(secret.as_bytes());
        let oldest = Timestamp::now().checked_sub(SignedDuration::from_hours(24 * SESSION_DAYS)).ok()?;
        let file = self.file();
        let mut found = None;
        for session in &file.sessions {
            if bool::from(session.secret_sha256.as_bytes().ct_eq(digest.as_bytes())) {
                found = Some(session);
            }
        }
        let session = found.filter(|session| session.created_at > oldest)?;
        (allows_local || session.invitation.is_some())
            .then(|| Person { name: session.name.clone(), role: session.role })
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sign_out(&self, secret: &str) -> Result<()> {
        let digest = sha256_hex(secret.as_bytes());
        self.change(|file| {
            file.sessions.retain(|session| session.secret_sha256 != digest);
            Ok(())
        })
    }
}

impl PeopleFile {
    /// The invitation with this digest of its token.
    fn invitation(&self, digest: &str) -> Option<&Invitation> {
        let mut found = None;
        for invitation in &self.invitations {
            if bool::from(invitation.token_sha256.as_bytes().ct_eq(digest.as_bytes())) {
                found = Some(invitation);
            }
        }
        found
    }

    fn sign_ins_since(&self, invitation: &str, since: Option<Timestamp>) -> usize {
        let of_invitation = |session: &&Session| session.invitation.as_deref() == Some(invitation);
        let sessions = self.sessions.iter().filter(of_invitation);
        sessions.filter(|session| since.is_none_or(|since| session.created_at > since)).count()
    }

    /// Counts a sign-in by an invitation; what is answered instead where it cannot be used.
    fn use_invitation(&mut self, id: &str, now: Timestamp) -> Option<Accepted> {
        let recent = self.sign_ins_since(id, now.checked_sub(SignedDuration::from_mins(1)).ok());
        let Some(held) = self.invitations.iter_mut().find(|held| held.id == id) else {
            return Some(Accepted::Unknown);
        };
        if held.is_expired(now) {
            return Some(Accepted::Expired);
        }
        if recent >= MAX_SIGN_INS {
            return Some(Accepted::TooOften);
        }
        held.uses = held.uses.saturating_add(1);
        held.last_used_at = Some(now);
        None
    }

    /// Adds a session; where a person, or the file, has too many, the oldest of that person, or of whoever has most, go.
    fn add(&mut self, session: Session) {
        let name = session.name.clone();
        self.sessions.push(session);
        while self.sessions.iter().filter(|session| session.name == name).count() > MAX_SESSIONS_OF_PERSON {
            self.remove_oldest_of(&name);
        }
        while self.sessions.len() > MAX_SESSIONS {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            self.sessions.iter().for_each(|session| *counts.entry(&session.name).or_default() += 1);
            let most = counts.into_iter().max_by_key(|(_, count)| *count);
            let Some(most) = most.map(|(name, _)| name.to_owned()) else { return };
            self.remove_oldest_of(&most);
        }
    }

    fn remove_oldest_of(&mut self, name: &str) {
        if let Some(oldest) = self.sessions.iter().position(|session| session.name == name) {
            self.sessions.remove(oldest);
        }
    }

    /// The name as it was first spelled: `ana` is `Ana` where there is an Ana already.
    fn known_spelling(&self, name: &str) -> Result<String> {
        let name =
            clean_name(name).ok_or_else(|| Error::Invalid(format!("`{name}` is not a usable name")))?;
        let lower = name.to_lowercase();
        let invited = self.invitations.iter().map(|invitation| &invitation.name);
        let mut known = invited.chain(self.sessions.iter().map(|session| &session.name));
        Ok(known.find(|known| known.to_lowercase() == lower).cloned().unwrap_or(name))
    }
}

impl Contract for PeopleFile {
    const NAME: &'static str = "list of people";
    const VERSION: u32 = 2;
}

fn read(path: &Path) -> Result<PeopleFile> {
    let new = || PeopleFile { schema_version: PeopleFile::VERSION, ..PeopleFile::default() };
    let mut file = PeopleFile::read_if_present(path)?.unwrap_or_else(new);
    file.schema_version = PeopleFile::VERSION;
    Ok(file)
}

/// 256 random bits of the operating system, in hexadecimal digits.
pub(crate) fn random_hex() -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Invalid(format!("the system gives no random numbers: {error}")))?;
    Ok(sha256_hex(&bytes))
}

#[cfg(test)]
#[path = "people_tests.rs"]
mod tests;
