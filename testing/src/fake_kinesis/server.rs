//! Connections, and the path of a request through the stand-in.

use std::error::Error;
use std::future;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{CONTENT_TYPE, DATE, HeaderName};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsAcceptor;

use super::answer::Answer;
use super::faults::{Fault, Plan};
use super::reply::{Hangup, Pace, ReplyBody};
use super::service::{Call, Service};
use super::{admin, limits, lock};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const EXTENDED_ID: HeaderName = HeaderName::from_static("x-amz-id-2");

/// Serves until `stopped` is signalled.
pub async fn run(
    listener: StdListener,
    tls: Option<TlsAcceptor>,
    service: Arc<Mutex<Service>>,
    stopped: oneshot::Receiver<()>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    tokio::select! {
        () = accept(listener, tls, service) => {}
        _ = stopped => {}
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, service: Arc<Mutex<Service>>) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => drop(tokio::spawn(connection(tcp, tls.clone(), Arc::clone(&service)))),
            // Probably out of descriptors; others may close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Errors of a connection are left to the caller, which sees them.
async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, service: Arc<Mutex<Service>>) {
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    match tls {
        None => serve(tcp, |tcp| tcp, service).await,
        Some(acceptor) => {
            if let Ok(mut stream) = acceptor.accept(tcp).await {
                // Without a limit, a reply is encrypted whole and sent in one write.
                stream.get_mut().1.set_buffer_limit(None);
                serve(stream, |stream| stream.get_ref().0, service).await;
            }
        }
    }
}

/// One connection, as its requests see it.
struct Caller {
    /// From 1, in order of arrival.
    number: u64,
    service: Arc<Mutex<Service>>,
    /// Signalled when the connection should end soon.
    close: Notify,
}

async fn serve<I>(io: I, tcp_of: fn(&I) -> &TcpStream, service: Arc<Mutex<Service>>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let number = lock(&service).store.count_connection();
    let caller = Arc::new(Caller { number, service, close: Notify::new() });
    let handler = {
        let caller = Arc::clone(&caller);
        service_fn(move |request| handle(request, Arc::clone(&caller)))
    };
    let mut connection = http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(io), handler);
    let end = tokio::select! {
        end = &mut connection => end,
        () = idle_end(&caller.close) => return,
    };
    let error = end.err();
    let cause = error.as_ref().and_then(Error::source);
    if cause.and_then(|cause| cause.downcast_ref()) == Some(&Hangup::Reset) {
        let io = connection.into_parts().io.into_inner();
        // Closing with zero linger sends RST and discards unread data.
        drop(tcp_of(&io).set_zero_linger());
    }
}

/// Ends the connection shortly after its reply was sent.
async fn idle_end(close: &Notify) {
    close.notified().await;
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// A request, from its head to its reply.
struct InFlight(Arc<Mutex<Service>>);

impl InFlight {
    fn begin(service: Arc<Mutex<Service>>) -> InFlight {
        lock(&service).store.begin();
        InFlight(service)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.0).store.end();
    }
}

async fn handle(request: Request<Incoming>, caller: Arc<Caller>) -> Result<Response<ReplyBody>, Hangup> {
    let service = &caller.service;
    if request.uri().path().starts_with("/_/") {
        return admin::handle(request, service).await;
    }
    let _in_flight = InFlight::begin(Arc::clone(service));
    let (head, body) = request.into_parts();
    let plan = lock(service).plan(&head);
    let body = match plan.fault {
        Fault::ResetBefore => Some(Vec::new()),
        _ => read(body).await?,
    };
    let call = Call { head: &head, body: body.as_deref(), connection: caller.number };
    let answer = lock(service).answer(&call, &plan);
    match plan.fault {
        Fault::ResetBefore => return Err(Hangup::Reset),
        Fault::Hang => future::pending().await,
        // Even a sleep of zero takes up to a millisecond.
        _ if plan.delay.is_zero() => {}
        _ => tokio::time::sleep(plan.delay).await,
    }
    match plan.fault {
        Fault::ResetAfter => return Err(Hangup::Reset),
        Fault::Close => caller.close.notify_one(),
        _ => {}
    }
    Ok(response(answer, &plan, &mut lock(service)))
}

/// The whole body, or `None` if it is larger than the front end reads.
pub async fn read(mut body: Incoming) -> Result<Option<Vec<u8>>, Hangup> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(expected.min(limits::MAX_BODY));
    while let Some(frame) = body.frame().await {
        // The caller closed the connection.
        let frame = frame.map_err(|_| Hangup::Cut)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limits::MAX_BODY {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes))
}

fn response(answer: Answer, plan: &Plan, service: &mut Service) -> Response<ReplyBody> {
    let pace = match plan.fault {
        Fault::Trickle(milliseconds) => Pace::Pieces(Duration::from_millis(milliseconds)),
        Fault::Truncate => Pace::Half,
        _ => Pace::AtOnce,
    };
    let id = service.faults.id();
    let date = service.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut response = Response::new(ReplyBody::new(answer.body, pace));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = value.try_into() {
            headers.insert(name, value);
        }
    };
    set(REQUEST_ID, request_id(id));
    set(EXTENDED_ID, base64_simd::STANDARD.encode_to_string(id.to_be_bytes().repeat(3)));
    set(DATE, date);
    set(CONTENT_TYPE, answer.content_type.to_owned());
    response
}

fn request_id(id: u128) -> String {
    let hex = format!("{id:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
