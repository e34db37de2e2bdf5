use super::*;

fn get_in(accepted: Result<Accepted>) -> Option<(Person, String)> {
    match accepted.unwrap() {
        Accepted::In(person, secret) => Some((person, secret)),
        _ => None,
    }
}

#[test]
fn an_invitation_lets_in_its_person_until_it_is_withdrawn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("people.json");
    let people = People::open(&path).unwrap();
    let (invitation, token) = people.invite("Ana", Role::Annotator, None).unwrap();
    assert!(get_in(people.accept("guess")).is_none());
    let (person, secret) = get_in(people.accept(&token)).unwrap();
    assert_eq!(person, Person { name: "Ana".to_owned(), role: Role::Annotator });
    let again = People::open(&path).unwrap();
    assert_eq!(again.session(&secret, false), Some(person), "a session survives a restart");
    assert!(again.session("guess", false).is_none());
    assert!(again.revoke(&invitation.id).unwrap());
    assert!(again.session(&secret, false).is_none() && get_in(again.accept(&token)).is_none());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&token) && !text.contains(&secret), "secrets are kept nowhere");
}

#[test]
fn a_local_session_does_not_count_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let people = People::open(&dir.path().join("people.json")).unwrap();
    let (_, secret) = get_in(people.sign_in_locally("Ana  Li")).unwrap();
    assert!(people.session(&secret, true).is_some() && people.session(&secret, false).is_none());
    assert_eq!(get_in(people.sign_in_locally("ana li")).unwrap().0.name, "Ana Li");
    people.sign_out(&secret).unwrap();
    assert!(people.session(&secret, true).is_none());
}

#[test]
fn two_processes_keep_each_other_s_invitations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("people.json");
    let server = People::open(&path).unwrap();
    server.sign_in_locally("Ana").unwrap();
    let (_, token) = People::open(&path).unwrap().invite("Ben", Role::Annotator, None).unwrap();
    assert_eq!(get_in(server.accept(&token)).unwrap().0.name, "Ben");
    server.invite("Cleo", Role::Lead, None).unwrap();
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

#[test]
fn an_invitation_tells_its_use_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("people.json");
    let people = People::open(&path).unwrap();
    let (invitation, token) = people.invite("Ana", Role::Annotator, Some(7)).unwrap();
    let days = invitation.expires_at.unwrap().duration_since(invitation.created_at).as_hours() / 24;
    assert_eq!((days, invitation.uses, invitation.last_used_at), (7, 0, None));
    let (_, secret) = get_in(people.accept(&token)).unwrap();
    get_in(people.accept(&token)).unwrap();
    let told = &people.invitations()[0];
    assert!(told.uses == 2 && told.last_used_at.is_some(), "{told:?}");
    // A week later.
    let text = std::fs::read_to_string(&path).unwrap();
    let end = serde_json::to_string(&invitation.expires_at).unwrap();
    std::fs::write(&path, text.replace(&end, "\"2020-01-01T00:00:00Z\"")).unwrap();
    assert!(matches!(people.accept(&token).unwrap(), Accepted::Expired));
    assert!(people.session(&secret, false).is_some(), "who is in stays in");
}

#[test]
fn nobody_can_crowd_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let people = People::open(&dir.path().join("people.json")).unwrap();
    let (_, lead_token) = people.invite("Lead", Role::Lead, None).unwrap();
    let (_, lead) = get_in(people.accept(&lead_token)).unwrap();
    let (_, token) = people.invite("Eve", Role::Annotator, None).unwrap();
    let taken = (0..60).filter(|_| get_in(people.accept(&token)).is_some()).count();
    assert_eq!(taken, MAX_SIGN_INS, "more within a minute are refused");
    // Slower, by name at the machine: a person's own sessions go, nobody else's.
    let secrets: Vec<String> =
        (0..50).map(|_| get_in(people.sign_in_locally("Mallory")).unwrap().1).collect();
    let alive = secrets.iter().filter(|secret| people.session(secret, true).is_some()).count();
    assert_eq!(alive, MAX_SESSIONS_OF_PERSON);
    assert!(people.session(&secrets[49], true).is_some(), "the newest are kept");
    assert!(people.session(&lead, false).is_some());
}

#[test]
fn a_file_of_too_many_sessions_loses_those_of_whoever_has_most() {
    let mut file = PeopleFile::default();
    let session = |name: &str, number: usize| Session {
        secret_sha256: number.to_string(),
        name: name.to_owned(),
        role: Role::Annotator,
        invitation: None,
        created_at: Timestamp::UNIX_EPOCH,
    };
    for person in 0..MAX_SESSIONS {
        file.add(session(&format!("p{person}"), person));
    }
    file.add(session("p7", MAX_SESSIONS));
    file.add(session("new", MAX_SESSIONS + 1));
    let has = |name: &str| file.sessions.iter().filter(|session| session.name == name).count();
    assert_eq!((file.sessions.len(), has("p0")), (MAX_SESSIONS, 1));
    assert_eq!(has("p7"), 1, "it was the one with two");
}
