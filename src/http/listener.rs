//! Accepts connections for a router: plain, over TLS or on a Unix socket; bounded; ended in peace when told to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections one listener holds open at most; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;

/// How long a connection may take for its TLS handshake or for a request's head.
const HEAD_TIME: Duration = Duration::from_secs(20);

/// How long requests in flight may go on after the server was told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Where connections come from.
#[derive(Debug)]
pub enum Door {
    /// Plain HTTP.
    Plain(TcpListener),
    /// HTTPS.
    Tls(TcpListener, Arc<ServerConfig>),
    /// The local socket.
    Local(UnixListener),
}

/// Serves `router` until `stop`, then lets requests in flight end.
pub async fn run(door: Door, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&door) => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                // Out of file descriptors, most likely; connections that end will free some.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            match stream {
                Incoming::Plain(stream) => serve(stream, router, stop).await,
                Incoming::Local(stream) => serve(stream, router, stop).await,
                Incoming::Tls(stream, config) => {
                    match tokio::time::timeout(HEAD_TIME, TlsAcceptor::from(config).accept(stream)).await {
                        Ok(Ok(stream)) => serve(stream, router, stop).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                }
            }
            drop(place);
        });
    }
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::warn!("some connections were cut off at the end");
    }
}

enum Incoming {
    Plain(tokio::net::TcpStream),
    Tls(tokio::net::TcpStream, Arc<ServerConfig>),
    Local(tokio::net::UnixStream),
}

async fn accept(door: &Door) -> io::Result<Incoming> {
    match door {
        Door::Plain(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Incoming::Plain(stream))
        }
        Door::Tls(listener, config) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Incoming::Tls(stream, config.clone()))
        }
        Door::Local(listener) => Ok(Incoming::Local(listener.accept().await?.0)),
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
