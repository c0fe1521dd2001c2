//! The body of a reply: whole, in pieces, or cut off.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// Why a connection ends without a whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// By a reset (RST).
    Reset,
    /// By its end (FIN) in the middle of a reply.
    Cut,
}

impl fmt::Display for Hangup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hung up on purpose: {self:?}")
    }
}

impl std::error::Error for Hangup {}

/// How a reply's body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Together with the head, in one write.
    AtOnce,
    /// In ten pieces with a pause before each.
    Pieces(Duration),
    /// The first half, then the connection ends.
    Half,
}

/// A reply's body.
pub struct ReplyBody {
    rest: Bytes,
    /// Largest piece.
    piece: usize,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// What remains when the connection ends.
    cut_at: Option<usize>,
}

impl ReplyBody {
    pub fn new(body: impl Into<Bytes>, pace: Pace) -> ReplyBody {
        let rest = body.into();
        let size = rest.len();
        let (piece, pause, cut_at) = match pace {
            Pace::AtOnce => (size, Duration::ZERO, None),
            Pace::Pieces(pause) => (size.div_ceil(10), pause, None),
            // The pause lets the first half go out before the connection ends.
            Pace::Half => (size.div_ceil(2), Duration::from_millis(5), Some(size / 2)),
        };
        ReplyBody { rest, piece: piece.max(1), pause, sleep: None, cut_at }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Hangup;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Hangup>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if !self.pause.is_zero() {
            let pause = self.pause;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            ready!(sleep.as_mut().poll(context));
            self.sleep = None;
        }
        if self.cut_at.is_some_and(|left| self.rest.len() <= left) {
            return Poll::Ready(Some(Err(Hangup::Cut)));
        }
        let length = self.piece.min(self.rest.len());
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
