//! Objects in a bucket that speaks S3, asked one after the other, through the HTTP client that everything else goes through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt as _;
use http_client::{Client, Options, Request, Retry};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions,
    RetryConfig, UpdateVersion,
};
use tokio::runtime::Runtime;

use crate::{Error, Result};

/// An object of this size is an error: adapters are far smaller.
const LARGEST: u64 = 4 << 30;
/// Bytes of an object that are asked for at once, where it is read piece by piece.
const PIECE: u64 = 16 << 20;

/// Where a bucket is, and the keys for it. Nothing of it is read from the environment.
#[derive(Clone)]
pub struct BucketOptions {
    /// `s3://bucket`, or `s3://bucket/folder`.
    pub url: String,
    /// The address of the service; without one that of Amazon's.
    pub endpoint: Option<String>,
    /// The region; services other than Amazon's mostly take any.
    pub region: Option<String>,
    /// The key's name.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// What temporary keys come with.
    pub session_token: Option<String>,
    /// How the service is asked.
    pub http: Options,
}

impl fmt::Debug for BucketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("BucketOptions");
        shown.field("url", &self.url).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl BucketOptions {
    /// Where the variables that AWS's own programs read say that a service is; `None` where they hold no keys.
    pub fn of_variables(url: &str, variable: &dyn Fn(&str) -> Option<String>, http: Options) -> Option<Self> {
        let first = |names: [&str; 2]| names.into_iter().find_map(variable);
        Some(Self {
            url: url.to_owned(),
            endpoint: first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
            region: first(["AWS_REGION", "AWS_DEFAULT_REGION"]),
            access_key_id: variable("AWS_ACCESS_KEY_ID")?,
            secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
            session_token: variable("AWS_SESSION_TOKEN"),
            http,
        })
    }

    /// Bucket and folder.
    fn parts(&self) -> Result<(&str, &str)> {
        let wrong = || Error::Domain {
            key: "registry.bucket",
            expected: "an address as in s3://bucket/folder",
            actual: self.url.clone(),
        };
        let rest = self.url.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if bucket.is_empty() || !bucket.chars().all(is_name) {
            return Err(wrong());
        }
        Ok((bucket, folder.trim_matches('/')))
    }
}

/// An object, and what its service calls this state of it.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its bytes.
    pub content: Vec<u8>,
    tag: Option<String>,
}

/// The objects below a folder of a bucket.
#[derive(Debug)]
pub struct Objects {
    store: AmazonS3,
    runtime: Runtime,
    folder: String,
    title: String,
}

impl Objects {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// When the address is none, or certificates cannot be read.
    pub fn open(options: &BucketOptions) -> Result<Self> {
        let (bucket, folder) = options.parts()?;
        let title = options.url.trim_end_matches('/').to_owned();
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Error::Bucket { title: title.clone(), source };
        let client = Client::new(Options { retry: Retry::NONE, notify: None, ..options.http.clone() });
        let connector = Connector(client.map_err(|error| failed(error.into()))?);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(options.region.as_deref().unwrap_or("us-east-1"))
            .with_access_key_id(&options.access_key_id)
            .with_secret_access_key(&options.secret_access_key)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retries(&options.http.retry))
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .with_http_connector(connector);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(token) = &options.session_token {
            builder = builder.with_token(token);
        }
        let store = builder.build().map_err(|error| failed(error.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| failed(error.into()))?;
        Ok(Self { store, runtime, folder: folder.to_owned(), title })
    }

    /// What the folder is called.
    pub fn title(&self) -> &str {
        &self.title
    }

    fn path(&self, name: &str) -> Path {
        let folder = if self.folder.is_empty() { String::new() } else { format!("{}/", self.folder) };
        Path::from(format!("{folder}{name}"))
    }

    fn failed(&self, error: object_store::Error) -> Error {
        Error::Bucket { title: self.title.clone(), source: error.into() }
    }

    /// The object of that name; `None` where there is none.
    ///
    /// # Errors
    /// When the service does not answer, or refuses.
    pub fn get(&self, name: &str) -> Result<Option<Object>> {
        let path = self.path(name);
        let read = async {
            let found = self.store.get(&path).await?;
            let tag = found.meta.e_tag.clone();
            Ok(Object { content: found.bytes().await?.to_vec(), tag })
        };
        match self.runtime.block_on(read) {
            Ok(object) => Ok(Some(object)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Hands out the content of an object piece by piece, of one state of it; whether there is one.
    ///
    /// # Errors
    /// When the service does not answer, or refuses, the object changes meanwhile, or `take` fails.
    pub fn read<E: From<Error>>(
        &self,
        name: &str,
        mut take: impl FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<bool, E> {
        let path = self.path(name);
        let meta = match self.runtime.block_on(self.store.head(&path)) {
            Ok(meta) => meta,
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(self.failed(error).into()),
        };
        if meta.size == 0 {
            // It is empty, or a proxy between keeps to itself how long it is.
            let Some(object) = self.get(name)? else { return Ok(false) };
            return take(&object.content).map(|()| true);
        }
        let (mut start, mut size) = (0, meta.size);
        while start < size {
            let range = Some((start..start + PIECE).into());
            let options = GetOptions { range, if_match: meta.e_tag.clone(), ..GetOptions::default() };
            let piece = async {
                let found = self.store.get_opts(&path, options).await?;
                // What it says with a piece counts: it belongs to what is read.
                Ok((found.meta.size, found.bytes().await?))
            };
            match self.runtime.block_on(piece) {
                Ok((whole, piece)) => {
                    take(&piece)?;
                    (start, size) = (start + PIECE, whole);
                }
                // A proxy between keeps to itself which piece it gives.
                Err(object_store::Error::Generic { .. }) if start == 0 => {
                    let Some(object) = self.get(name)? else { return Ok(false) };
                    return take(&object.content).map(|()| true);
                }
                Err(error) => return Err(self.failed(error).into()),
            }
        }
        Ok(true)
    }

    fn put(&self, name: &str, content: &[u8], mode: PutMode) -> Result<bool> {
        let options = PutOptions { mode, ..PutOptions::default() };
        let payload = content.to_vec().into();
        match self.runtime.block_on(self.store.put_opts(&self.path(name), payload, options)) {
            Ok(_) => Ok(true),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotFound { .. },
            ) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Creates an object, unless there is one; whether this content is there now. A creation whose answer was lost is known by
    /// what is there.
    ///
    /// # Errors
    /// When the service does not answer, or refuses.
    pub fn create(&self, name: &str, content: &[u8]) -> Result<bool> {
        if self.put(name, content, PutMode::Create)? {
            return Ok(true);
        }
        Ok(self.get(name)?.is_some_and(|object| object.content == content))
    }

    /// Replaces an object that is as it was read, or creates it where there was none; `false` where somebody else was faster.
    pub(super) fn replace(&self, name: &str, before: Option<&Object>, content: &[u8]) -> Result<bool> {
        match before {
            None => self.create(name, content),
            Some(object) => {
                let version = UpdateVersion { e_tag: object.tag.clone(), version: None };
                if self.put(name, content, PutMode::Update(version))? {
                    return Ok(true);
                }
                Ok(self.get(name)?.is_some_and(|object| object.content == content))
            }
        }
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// When the service does not answer, or refuses.
    pub fn remove(&self, name: &str) -> Result<()> {
        match self.runtime.block_on(self.store.delete(&self.path(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The names directly below a folder: of folders and of objects.
    ///
    /// # Errors
    /// When the service does not answer, or refuses.
    pub fn names(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path(folder);
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(&path)));
        let listed = listed.map_err(|error| self.failed(error))?;
        let objects = listed.objects.into_iter().map(|object| object.location);
        let all = listed.common_prefixes.into_iter().chain(objects);
        Ok(all.filter_map(|path| path.filename().map(str::to_owned)).collect())
    }
}

fn retries(retry: &Retry) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: retry.base,
            max_backoff: retry.max.min(Duration::from_secs(2)),
            base: 2.0,
        },
        max_retries: retry.attempts.saturating_sub(1) as usize,
        retry_timeout: retry.budget,
    }
}

/// Answers for `object_store` by the blocking client: there is one request at a time.
#[derive(Debug, Clone)]
struct Connector(Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Connector {
    fn call<'s, 'a>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<HttpResponse, HttpError>> + Send + 'a>>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            let url = http_client::parse(&parts.uri.to_string()).map_err(http_error)?;
            let mut request = Request::new(parts.method, url).redirects(0).limit(LARGEST);
            for (name, value) in &parts.headers {
                // Length and host are the client's own.
                if !matches!(name.as_str(), "content-length" | "host") {
                    request = request
                        .header(name.as_str(), value.to_str().unwrap_or_default())
                        .map_err(http_error)?;
                }
            }
            if !body.is_empty() {
                request = request.body(body);
            }
            let answer = self.0.send(&request).map_err(http_error)?;
            let mut response = HttpResponse::new(HttpResponseBody::from(answer.body));
            if let Ok(status) = answer.status.try_into() {
                *response.status_mut() = status;
            }
            *response.headers_mut() = answer.headers;
            Ok(response)
        })
    }
}

/// What passes is repeated: whatever is written here is written under a condition, so that doing it twice shows.
fn http_error(error: http_client::Error) -> HttpError {
    let kind = if error.is_transient() { HttpErrorKind::Connect } else { HttpErrorKind::Unknown };
    HttpError::new(kind, error)
}
