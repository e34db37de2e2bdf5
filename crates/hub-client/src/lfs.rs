use std::collections::BTreeMap;

use http_client::{Method, Request, Response, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::protocol;
use crate::{Hub, PushFile, Result};

const LFS: &str = "application/vnd.git-lfs+json";
/// The most objects that one batch may name.
const BATCH: usize = 256;

#[derive(Deserialize)]
struct Batch {
    objects: Vec<BatchObject>,
}

#[derive(Deserialize)]
struct BatchObject {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<BatchError>,
}

#[derive(Deserialize)]
struct BatchError {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Action,
    #[serde(default)]
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

impl Hub {
    /// Stores the content of large files; a commit can then name them.
    pub(crate) fn upload_large(&self, id: &str, branch: &str, files: &[&PushFile]) -> Result<()> {
        for some in files.chunks(BATCH) {
            self.upload_batch(id, branch, some)?;
        }
        Ok(())
    }

    fn upload_batch(&self, id: &str, branch: &str, files: &[&PushFile]) -> Result<()> {
        let objects: Vec<Value> =
            files.iter().map(|file| json!({"oid": file.sha256(), "size": file.content.len()})).collect();
        let body = json!({"operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
            "ref": {"name": branch}, "objects": objects});
        let request = self.request(Method::POST, &format!("/{id}.git/info/lfs/objects/batch"))?;
        let batch: Batch = self.lfs(request, &body)?.json()?;
        for file in files {
            let oid = file.sha256();
            let object = batch.objects.iter().find(|object| object.oid == oid);
            let object = object.ok_or_else(|| protocol(id, format!("nothing about `{}`", file.path)))?;
            if let Some(error) = &object.error {
                return Err(protocol(id, format!("`{}` is refused: {}", file.path, error.message)));
            }
            if let Some(actions) = &object.actions {
                self.upload_object(file, &oid, actions)?;
            }
        }
        Ok(())
    }

    fn upload_object(&self, file: &PushFile, oid: &str, actions: &Actions) -> Result<()> {
        let upload = &actions.upload;
        match upload.header.get("chunk_size").and_then(chunk_size) {
            Some(chunk_size) => self.upload_parts(file, oid, upload, chunk_size)?,
            None => {
                self.put(&self.address(&upload.href)?, &file.content)?;
            }
        }
        if let Some(verify) = &actions.verify {
            self.lfs_post(&verify.href, &json!({"oid": oid, "size": file.content.len()}))?;
        }
        Ok(())
    }

    fn upload_parts(&self, file: &PushFile, oid: &str, upload: &Action, chunk_size: usize) -> Result<()> {
        let mut parts = Vec::new();
        for (number, chunk) in (1..).zip(file.content.chunks(chunk_size)) {
            let address = upload.header.get(&number.to_string()).and_then(Value::as_str);
            let lacking = |what: &str| protocol(&file.path, format!("part {number} has no {what}"));
            let etag = self.put(&self.address(address.ok_or_else(|| lacking("address"))?)?, chunk)?;
            let etag = etag.ok_or_else(|| lacking("ETag"))?;
            parts.push(json!({"partNumber": number, "etag": etag}));
        }
        self.lfs_post(&upload.href, &json!({"oid": oid, "parts": parts}))
    }

    /// An address of the Hub's own or a signed one at its storage; the credential goes to the former only.
    fn address(&self, href: &str) -> Result<Url> {
        let joined = self.base.join(href).map_err(|_| protocol("an upload", "its address is none"))?;
        Ok(http_client::parse(joined.as_str())?)
    }

    /// Signed addresses take no other proof than their signature.
    fn put(&self, address: &Url, body: &[u8]) -> Result<Option<String>> {
        let request = Request::put(address.clone()).body(body.to_vec());
        Ok(self.client.send(&request)?.success()?.header("etag").map(str::to_owned))
    }

    fn lfs_post(&self, href: &str, body: &Value) -> Result<()> {
        let request = Request::post(self.address(href)?).credential(self.credential.as_ref());
        self.lfs(request, body).map(drop)
    }

    fn lfs(&self, request: Request, body: &Value) -> Result<Response> {
        let request = request.header("Content-Type", LFS)?.header("Accept", LFS)?.json(body)?;
        Ok(self.client.send(&request)?.success()?)
    }
}

fn chunk_size(value: &Value) -> Option<usize> {
    let size = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    usize::try_from(size).ok().filter(|size| *size > 0)
}
