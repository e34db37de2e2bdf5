use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Rejection;
use super::site::{PublicUrl, client_address};
use super::state::{Access, App};
use crate::{Accepted, Person, Role};

const COOKIE: &str = "pitchquest_session";
/// Ninety days, as long as a session counts.
const COOKIE_AGE_S: u32 = 90 * 24 * 3600;

/// The person behind a request; without one the request is refused.
pub(super) struct SignedIn(pub(super) Person);

/// The lead behind a request.
pub(super) struct Lead;

fn secret(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

fn person(app: &App, headers: &HeaderMap) -> Option<Person> {
    app.people().session(secret(headers)?, app.access() == Access::Local)
}

impl FromRequestParts<Arc<App>> for SignedIn {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejection> {
        person(app, &parts.headers).map(Self).ok_or_else(Rejection::sign_in)
    }
}

impl FromRequestParts<Arc<App>> for Lead {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejection> {
        let SignedIn(person) = SignedIn::from_request_parts(parts, app).await?;
        if person.role == Role::Lead { Ok(Self) } else { Err(Rejection::leads_only()) }
    }
}

/// The address a request came from; one for all where the router runs without a socket.
pub(super) struct Address(IpAddr);

impl FromRequestParts<Arc<App>> for Address {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip());
        Ok(Self(client_address(peer, &parts.headers, &app.settings().trusted_proxies)))
    }
}

/// Who is signed in, how one signs in here, and the rubric for those who are.
pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Json<Value> {
    Json(describe(&app, person(&app, &headers).as_ref()))
}

fn describe(app: &App, person: Option<&Person>) -> Value {
    let is_local = app.access() == Access::Local;
    let mut answer = json!({"person": person, "access": if is_local { "local" } else { "invited" }});
    if person.is_some() {
        answer["rubric"] = json!(app.settings().rubric);
        answer["model_help"] = json!(app.settings().config.model_help);
    }
    answer
}

/// What the page at this machine needs to ask for a name.
fn describe_local(app: &App, person: Option<&Person>) -> Value {
    let mut answer = describe(app, person);
    let store = app.ledger().store();
    answer["known_names"] = json!(store.annotators().collect::<Vec<_>>());
    answer
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    #[serde(default)]
    name: String,
    #[serde(default)]
    token: String,
}

fn expired_invitation() -> Rejection {
    let message = "this invitation has expired; ask your lead for a new link";
    Rejection::new(StatusCode::UNAUTHORIZED, "expired_invitation", message)
}

fn unknown_invitation(access: Access) -> Rejection {
    let message = if access == Access::Local {
        "open the link that pq-label printed when it was started"
    } else {
        "this invitation is not known (any more); ask your lead for a new link"
    };
    Rejection::new(StatusCode::UNAUTHORIZED, "unknown_invitation", message)
}

/// Signs in by name with the secret of this machine's link, or by an invitation's token.
pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    Address(address): Address,
    headers: HeaderMap,
    Json(request): Json<SignIn>,
) -> Result<Response, Rejection> {
    let is_local = app.is_local_key(&request.token);
    if is_local && request.name.is_empty() {
        return Ok(Json(describe_local(&app, person(&app, &headers).as_ref())).into_response());
    }
    let accepted = if is_local {
        app.change_people(move |people| people.sign_in_locally(&request.name)).await?
    } else {
        accept(&app, address, request.token).await?
    };
    let (person, secret) = match accepted {
        Accepted::In(person, secret) => (person, secret),
        Accepted::TooOften => return Err(too_many("too many sign-ins by this invitation; wait a minute")),
        Accepted::Expired => return Err(expired_invitation()),
        Accepted::Unknown => {
            app.count_failure(address);
            return Err(unknown_invitation(app.access()));
        }
    };
    let body = Json(describe(&app, Some(&person)));
    Ok(([(header::SET_COOKIE, cookie(&app, &secret, COOKIE_AGE_S))], body).into_response())
}

/// Looks whom an invitation's token is for. A right one is never made to wait for wrong ones, which anybody may send.
async fn accept(app: &Arc<App>, address: IpAddr, token: String) -> Result<Accepted, Rejection> {
    if token.is_empty() {
        return Ok(Accepted::Unknown);
    }
    if !app.people().holds(&token) && app.must_wait(address) {
        return Err(too_many("too many wrong invitations from this address; wait a minute"));
    }
    if app.is_one_too_many(address) {
        return Err(too_many("too many sign-ins from this address; wait a minute"));
    }
    Ok(app.change_people(move |people| people.accept(&token)).await?)
}

fn too_many(message: &str) -> Rejection {
    Rejection::new(StatusCode::TOO_MANY_REQUESTS, "wait", message)
}

/// Ends the session.
pub(super) async fn sign_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Rejection> {
    if let Some(secret) = secret(&headers).map(str::to_owned) {
        app.change_people(move |people| people.sign_out(&secret)).await?;
    }
    Ok(([(header::SET_COOKIE, cookie(&app, "", 0))], StatusCode::NO_CONTENT).into_response())
}

fn cookie(app: &App, secret: &str, age_s: u32) -> String {
    let public = app.settings().public_url.as_ref();
    let secure = if public.is_some_and(PublicUrl::is_https) { "; Secure" } else { "" };
    let path = public.map(PublicUrl::path).unwrap_or_default();
    format!("{COOKIE}={secret}; Path={path}/; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}")
}
