use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::key::{PrivateKey, PublicKey};
use crate::{Error, Result};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD: &str = "application/vnd.in-toto+json";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedBundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Hint,
    #[serde(default)]
    tlog_entries: Vec<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Hint {
    #[serde(default)]
    hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signed>,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    sig: String,
    #[serde(default)]
    keyid: String,
}

/// The bytes of a bundle around a payload.
pub(super) fn seal(payload: &[u8], key: &PrivateKey) -> Result<Vec<u8>> {
    let signature = key.sign(&authenticated(payload));
    let bundle = SignedBundle {
        media_type: BUNDLE.to_owned(),
        verification_material: Material {
            public_key: Hint { hint: Some(key.public()?.fingerprint()) },
            tlog_entries: Vec::new(),
        },
        dsse_envelope: Envelope {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD.to_owned(),
            signatures: vec![Signed { sig: STANDARD.encode(signature), keyid: String::new() }],
        },
    };
    let encode = |source| durable_files::Error::Encode { path: "model.sig".into(), source };
    serde_json::to_vec(&bundle).map_err(encode).map_err(Error::File)
}

/// The payload of a bundle, once its signature is known to be the key's; else why not, in words.
pub(super) fn open(bytes: &[u8], key: &PublicKey) -> std::result::Result<Vec<u8>, String> {
    let bundle: SignedBundle = serde_json::from_slice(bytes)
        .map_err(|error| format!("`model.sig` is no signature by a key: {error}"))?;
    if bundle.media_type != BUNDLE {
        return Err(format!("`model.sig` is a `{}`, and a `{BUNDLE}` is expected", bundle.media_type));
    }
    let fingerprint = key.fingerprint();
    let hint = bundle.verification_material.public_key.hint;
    if let Some(hint) = hint.filter(|hint| !hint.is_empty() && *hint != fingerprint) {
        return Err(format!("it was signed by the key {hint}, and {fingerprint} is trusted"));
    }
    let (payload, signature) = bundle.dsse_envelope.decode()?;
    if key.has_signed(&authenticated(&payload), &signature) {
        Ok(payload)
    } else {
        Err("the signature is not the trusted key's".to_owned())
    }
}

impl Envelope {
    /// The bytes of the payload and of its one signature.
    fn decode(self) -> std::result::Result<(Vec<u8>, Vec<u8>), String> {
        let Self { payload, payload_type, signatures } = self;
        if payload_type != PAYLOAD {
            return Err(format!("the signed payload is a `{payload_type}`, and a `{PAYLOAD}` is expected"));
        }
        let decode =
            |text: &str| STANDARD.decode(text).map_err(|error| format!("`model.sig` is no base64: {error}"));
        let payload = decode(&payload)?;
        let [signature] = signatures.as_slice() else {
            return Err(format!("`model.sig` has {} signatures, and one is expected", signatures.len()));
        };
        Ok((payload, decode(&signature.sig)?))
    }
}

/// What is signed: the pre-authentication encoding of DSSE, `DSSEv1 <len> <type> <len> <payload>`.
fn authenticated(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}
