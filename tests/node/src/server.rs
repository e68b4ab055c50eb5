//! The HTTP server: whatever a client does or does not do, it holds a bounded part of the node for a bounded time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use stemedb_metrics::{Class, Errors, Layer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 1_024;
/// Bytes of a head beyond which nobody is told in JSON any more what is wrong with it (`api::MAX_HEAD` is what is allowed).
const HARD_HEAD: usize = 64 << 10;
/// A client that takes nothing of its answer for so long is gone.
const TAKE: Duration = Duration::from_secs(30);
/// How long those have at the end who are being answered.
const LAST: Duration = Duration::from_secs(10);

/// Serves until it is stopped, and answers then what has begun. A client has `patience` for the head of a request, and may be idle before
/// it as long.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    errors: &Errors,
    patience: Duration,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let served = serve_one(stream, router.clone(), errors.clone(), patience, graceful.watcher());
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: they come back as connections end.
                log::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(LAST, graceful.shutdown()).await.is_err() {
        log::warn!("clients have not taken their answers within {} s", LAST.as_secs());
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _): (_, SocketAddr) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let limit = u32::try_from(TAKE.as_millis()).unwrap_or(u32::MAX);
    setsockopt(&stream, TcpUserTimeout, &limit).map_err(io::Error::from)?;
    Ok((stream, place))
}

async fn serve_one(stream: TcpStream, router: Router, errors: Errors, patience: Duration, watcher: Watcher) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(HARD_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let Err(error) = watcher.watch(connection).await else { return };
    log::debug!("a connection ended badly: {error}");
    // These never were requests: no route has counted them, and hyper has answered with a bare 431 or 400.
    let kind = if error.is_parse_too_large() {
        "head_too_large"
    } else if error.is_parse() {
        "invalid_head"
    } else {
        return;
    };
    errors.count(&Class { kind, layer: Layer::Http });
}
