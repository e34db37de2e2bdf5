use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use durable_files::{FileLock, write_json_private};
use jiff::Timestamp;
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
/// The oldest sessions go when there are more.
const MAX_SESSIONS: usize = 1000;

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

    /// Invites a person and returns the token of their link.
    ///
    /// # Errors
    /// When the name is not usable, the system gives no random numbers, or the file cannot be written.
    pub fn invite(&self, name: &str, role: Role) -> Result<(Invitation, String)> {
        let token = random_hex()?;
        let id = random_hex()?[..12].to_owned();
        self.change(|file| {
            let invitation = Invitation {
                id,
                name: file.known_spelling(name)?,
                role,
                token_sha256: sha256_hex(token.as_bytes()),
                created_at: Timestamp::now(),
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

    /// Signs in with an invitation's token; returns the session's secret. Every invitation is compared, each in constant time.
    ///
    /// # Errors
    /// When the file cannot be written. An unknown token is `None`.
    pub fn accept(&self, token: &str) -> Result<Option<(Person, String)>> {
        self.look_again()?;
        let digest = sha256_hex(token.as_bytes());
        let mut found = None;
        for invitation in &self.file().invitations {
            if bool::from(invitation.token_sha256.as_bytes().ct_eq(digest.as_bytes())) {
                found = Some(invitation.clone());
            }
        }
        let Some(Invitation { id, name, role, .. }) = found else { return Ok(None) };
        self.start(Person { name, role }, Some(id)).map(Some)
    }

    /// Signs in a person at the machine itself, by name. They lead: the files are theirs anyway.
    ///
    /// # Errors
    /// When the name is not usable or the file cannot be written.
    pub fn sign_in_locally(&self, name: &str) -> Result<(Person, String)> {
        self.look_again()?;
        let name = self.file().known_spelling(name)?;
        self.start(Person { name, role: Role::Lead }, None)
    }

    fn start(&self, person: Person, invitation: Option<String>) -> Result<(Person, String)> {
        let secret = random_hex()?;
        let session = Session {
            secret_sha256: sha256_hex(secret.as_bytes()),
            name: person.name.clone(),
            role: person.role,
            invitation,
            created_at: Timestamp::now(),
        };
        self.change(|file| {
            file.sessions.push(session);
            let excess = file.sessions.len().saturating_sub(MAX_SESSIONS);
            file.sessions.drain(..excess);
            Ok(())
        })?;
        Ok((person, secret))
    }

    /// The person of a session; sessions of the machine itself count only where `local` ones are allowed.
    pub fn session(&self, secret: &str, allows_local: bool) -> Option<Person> {
        let digest = sha256_hex(secret.as_bytes());
        let oldest =
            Timestamp::now().checked_sub(jiff::SignedDuration::from_hours(24 * SESSION_DAYS)).ok()?;
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
    const VERSION: u32 = 1;
}

fn read(path: &Path) -> Result<PeopleFile> {
    let new = || PeopleFile { schema_version: PeopleFile::VERSION, ..PeopleFile::default() };
    Ok(PeopleFile::read_if_present(path)?.unwrap_or_else(new))
}

/// 256 random bits of the operating system, in hexadecimal digits.
fn random_hex() -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Invalid(format!("the system gives no random numbers: {error}")))?;
    Ok(sha256_hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_lets_in_its_person_until_it_is_withdrawn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("people.json");
        let people = People::open(&path).unwrap();
        let (invitation, token) = people.invite("Ana", Role::Annotator).unwrap();
        assert!(people.accept("guess").unwrap().is_none());
        let (person, secret) = people.accept(&token).unwrap().unwrap();
        assert_eq!(person, Person { name: "Ana".to_owned(), role: Role::Annotator });
        let again = People::open(&path).unwrap();
        assert_eq!(again.session(&secret, false), Some(person), "a session survives a restart");
        assert!(again.session("guess", false).is_none());
        assert!(again.revoke(&invitation.id).unwrap());
        assert!(again.session(&secret, false).is_none() && again.accept(&token).unwrap().is_none());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&token) && !text.contains(&secret), "secrets are kept nowhere");
    }

    #[test]
    fn a_local_session_does_not_count_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let people = People::open(&dir.path().join("people.json")).unwrap();
        let (_, secret) = people.sign_in_locally("Ana  Li").unwrap();
        assert!(people.session(&secret, true).is_some() && people.session(&secret, false).is_none());
        assert_eq!(people.sign_in_locally("ana li").unwrap().0.name, "Ana Li");
        people.sign_out(&secret).unwrap();
        assert!(people.session(&secret, true).is_none());
    }

    #[test]
    fn two_processes_keep_each_other_s_invitations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("people.json");
        let server = People::open(&path).unwrap();
        server.sign_in_locally("Ana").unwrap();
        let (_, token) = People::open(&path).unwrap().invite("Ben", Role::Annotator).unwrap();
        assert_eq!(server.accept(&token).unwrap().unwrap().0.name, "Ben");
        server.invite("Cleo", Role::Lead).unwrap();
        assert_eq!(People::open(&path).unwrap().invitations().len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("people.json");
        People::open(&path).unwrap().sign_in_locally("Ana").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    }
}
