//! The server: connections, their bounds, and what holds for every answer.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use super::app::{App, Base};
use super::face;
use super::page::refusal;
use super::problem::{self, Problem};
use super::routes;

/// Connections at a time.
const CONNECTIONS: usize = 8_192;
/// A request's head, and a TLS handshake, must be there within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever takes nothing for so long is cut off: a stream that nobody reads must not stay for ever.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long answers that are under way have when the service stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often the file of tokens is looked at.
const RELOAD: Duration = Duration::from_secs(1);

/// Where the server listens.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address and port; port 0: any that is free.
    pub listen: SocketAddr,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<Tls>,
}

/// Files for TLS, in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The chain of certificates.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address.
    #[error("cannot listen on {address} (http.listen): {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate or its key.
    #[error("cannot use {} for TLS: {message}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The runtime.
    #[error("cannot start the HTTP service: {0}")]
    Runtime(io::Error),
}

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and answers from then on.
    ///
    /// # Errors
    /// It cannot listen there, or the files for TLS cannot be used.
    pub fn start(config: &ServerConfig, base: Base) -> Result<Server, StartError> {
        let address = config.listen;
        let failed = |source| StartError::Listen { address, source };
        let acceptor = config.tls.as_ref().map(acceptor).transpose()?;
        // A live stream is an open file, and many systems begin with 1,024 of them. What they allow is enough, or it is
        // the operator's limit: connections beyond it wait.
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::debug!(%error, "the limit of open files stays");
        }
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(16)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let (stop, stopping) = watch::channel(false);
        let serving = move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, acceptor, base, stopping).await,
                    Err(error) => tracing::error!(%error, "the HTTP service cannot listen"),
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        let thread = std::thread::Builder::new().name("http-service".to_owned()).spawn(serving);
        Ok(Server { address, stop, thread: Some(thread.map_err(StartError::Runtime)?) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic was told by its own message.
            let _ = thread.join();
        }
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    let wrong = |path: &PathBuf, message: String| StartError::Tls { path: path.clone(), message };
    let certificates = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(certificates, key))
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    base: Base,
    mut stopping: watch::Receiver<bool>,
) {
    let tokens = Arc::clone(&base.tokens);
    let app = App::new(base, stopping.clone());
    let service = TowerToHyperService::new(router(app));
    let reloading = tokio::spawn(async move {
        loop {
            tokio::time::sleep(RELOAD).await;
            let tokens = Arc::clone(&tokens);
            match tokio::task::spawn_blocking(move || tokens.reload()).await {
                Ok(Ok(true)) => tracing::info!("the tokens were read again"),
                Ok(Ok(false)) | Err(_) => {}
                Ok(Err(error)) => tracing::warn!("the tokens that were read last go on counting: {error}"),
            }
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .keep_alive_interval(Duration::from_secs(30));
    let builder = Arc::new(builder);
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: they come back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (service, builder, acceptor) = (service.clone(), Arc::clone(&builder), acceptor.clone());
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _permit = permit;
            let Some(stream) = secured(stream, acceptor).await else { return };
            let connection = builder.serve_connection(TokioIo::new(Patient::new(stream)), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    reloading.abort();
    if timeout(FAREWELL, graceful.shutdown()).await.is_err() {
        tracing::info!("some answers did not end in time and were cut off");
    }
}

/// A stream, plain or encrypted.
trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

async fn secured(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> Option<Box<dyn Both>> {
    match acceptor {
        None => Some(Box::new(stream)),
        Some(acceptor) => match timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        },
    }
}

/// A stream whose writes have [`WRITE_TIMEOUT`].
struct Patient {
    stream: Box<dyn Both>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: Box<dyn Both>) -> Patient {
        Patient { stream, waiting: None }
    }

    fn bounded<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_TIMEOUT)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(polled, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(polled, context)
    }
}

/// Everything that a request meets.
fn router(app: App) -> Router {
    let quick = routes::router(false)
        .merge(face::router())
        .layer(middleware::from_fn_with_state(app.clone(), in_time));
    let router = quick
        .merge(routes::router(true))
        .fallback(face::no_route)
        .method_not_allowed_fallback(face::no_method)
        .layer(DefaultBodyLimit::max(app.limits.body_bytes))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            problem::internal("the request ended in a panic; this is a bug in Lastseen").into_response()
        }))
        .layer(middleware::from_fn_with_state(app.clone(), every_answer))
        .layer(CompressionLayer::new())
        .with_state(app);
    // Around all of it: a router looks at the path before what is layered in it does.
    Router::new().fallback_service(router).layer(middleware::map_request(face::with_single_slashes))
}

/// No answer takes longer than it may.
async fn in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    // Whoever waits for an effect said for how long.
    let waits = request.uri().query().is_some_and(|query| query.contains("wait="));
    let extra = if waits { Duration::from_secs(super::commands::WAIT_MAX) } else { Duration::ZERO };
    let limit = app.limits.timeout + extra;
    match timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem::unavailable(format!(
            "no answer within {} s (http.timeout_ms); narrow the filter, or try again in a while",
            limit.as_secs()
        ))
        .into_response(),
    }
}

/// What holds for every answer: it is counted, errors are problems, and browsers are told to guess nothing.
async fn every_answer(State(app): State<App>, request: Request, next: Next) -> Response {
    let may_have_body = !request.body().is_end_stream() && request.version() < Version::HTTP_2;
    let page = refusal::wants_page(request.uri(), request.headers()).then(|| request.uri().path().to_owned());
    let face = face::of(request.uri().path());
    let mut response = if is_forged(&request) {
        let why = "a page of another site sent this; a browser adds its user's credentials to such a request by itself";
        problem::forbidden(why).into_response()
    } else {
        next.run(request).await
    };
    let status = response.status();
    let kind =
        response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if (status.is_client_error() || status.is_server_error()) && !kind.contains("json") {
        // Of the framework, in plain text.
        response = plain_problem(status, app.limits.body_bytes).into_response();
    }
    if let Some(face) = face {
        response = face.told(response);
    } else if let Some(path) = page {
        response = refusal::as_page(response, &path, app.clock.now());
    }
    app.served.answered(response.status().as_u16());
    let headers = response.headers_mut();
    if may_have_body && status.is_client_error() {
        // The body was not read, so nothing can follow it on this connection.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, refusal::SECURITY_POLICY);
    // Not "no-referrer": a browser would not say either that a form is of our own page.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a browser sends this for a page of another site: it would add the credentials of basic authentication.
/// Programs send none of these headers.
fn is_forged(request: &Request) -> bool {
    if request.method().is_safe() {
        return false;
    }
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let own = request.uri().authority().map(|own| own.as_str()).or_else(|| text("host"));
    let theirs = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, theirs)| theirs);
    theirs.is_none() || theirs != own
}

fn plain_problem(status: StatusCode, body_bytes: usize) -> Problem {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => problem::too_large(format!(
            "a body has at most {body_bytes} bytes (http.body_bytes); send it in parts"
        )),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => problem::media_type("the body must be application/json"),
        StatusCode::METHOD_NOT_ALLOWED => problem::method("this route knows other methods"),
        StatusCode::NOT_FOUND => problem::not_found("there is no such route; /v1/openapi.json lists them"),
        status if status.is_client_error() => problem::bad_request("the request cannot be understood"),
        _ => problem::internal("the request failed; the log of the service says more"),
    }
}
