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
use super::state::{Access, App};
use crate::{Person, Role};

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

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Self::Rejection> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())))
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
    } else if is_local {
        let store = app.ledger().store();
        answer["known_names"] = json!(store.annotators().collect::<Vec<_>>());
    }
    answer
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    #[serde(default)]
    name: String,
    #[serde(default)]
    token: String,
}

/// Signs in by name on this machine, or by an invitation's token.
pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    Address(address): Address,
    Json(request): Json<SignIn>,
) -> Result<Response, Rejection> {
    let (person, secret) = if app.access() == Access::Local && request.token.is_empty() {
        app.change_people(move |people| people.sign_in_locally(&request.name)).await?
    } else {
        if app.must_wait(address) {
            let message = "too many wrong invitations from this address; wait a minute";
            return Err(Rejection::new(StatusCode::TOO_MANY_REQUESTS, "wait", message));
        }
        let accepted = app.change_people(move |people| people.accept(&request.token)).await?;
        accepted.ok_or_else(|| {
            app.count_failure(address);
            let message = "this invitation is not known (any more); ask your lead for a new link";
            Rejection::new(StatusCode::UNAUTHORIZED, "unknown_invitation", message)
        })?
    };
    let body = Json(describe(&app, Some(&person)));
    Ok(([(header::SET_COOKIE, cookie(&app, &secret, COOKIE_AGE_S))], body).into_response())
}

/// Ends the session.
pub(super) async fn sign_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Rejection> {
    if let Some(secret) = secret(&headers).map(str::to_owned) {
        app.change_people(move |people| people.sign_out(&secret)).await?;
    }
    Ok(([(header::SET_COOKIE, cookie(&app, "", 0))], StatusCode::NO_CONTENT).into_response())
}

fn cookie(app: &App, secret: &str, age_s: u32) -> String {
    let secure = if app.access() == (Access::Invited { is_https: true }) { "; Secure" } else { "" };
    format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}")
}
