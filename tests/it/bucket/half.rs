//! An answer that breaks off.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body as _, Frame, SizeHint};
use s3s::Body;

/// Half of the body, and then the connection breaks.
pub(super) fn half(answer: Response<Body>) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let size = body.size_hint().exact().unwrap_or(2);
    Response::from_parts(parts, Body::http_body(Half { body: Mutex::new(body), left: size / 2, size }))
}

struct Half {
    body: Mutex<Body>,
    left: u64,
    size: u64,
}

impl hyper::body::Body for Half {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let broken = || Poll::Ready(Some(Err(std::io::Error::other("cut"))));
        if self.left == 0 {
            return broken();
        }
        let frame = Pin::new(&mut *self.body.lock().unwrap()).poll_frame(context);
        match frame {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                let mut data = frame.into_data().unwrap_or_default();
                data.truncate(usize::try_from(self.left).unwrap());
                self.left -= data.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(_) => broken(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size)
    }
}
