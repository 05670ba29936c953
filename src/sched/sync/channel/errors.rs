//! Why a value was not sent or received. The errors are those of `std`.

use core::fmt;

/// The last receiver is gone. The value was not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// Why [`try_send`](super::Sender::try_send) has not sent the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel has no room.
    Full(T),
    /// The last receiver is gone.
    Disconnected(T),
}

/// Why [`send_timeout`](super::Sender::send_timeout) has not sent the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// The channel had no room.
    Timeout(T),
    /// The last receiver is gone.
    Disconnected(T),
}

/// There is no value, and the last sender is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError;

/// Why [`try_recv`](super::Receiver::try_recv) has received no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is none now.
    Empty,
    /// There is none, and the last sender is gone.
    Disconnected,
}

/// Why [`recv_timeout`](super::Receiver::recv_timeout) has received no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// There was none.
    Timeout,
    /// There is none, and the last sender is gone.
    Disconnected,
}

const NO_RECEIVER: &str = "sending on a channel without receivers";
const NO_SENDER: &str = "receiving on an empty channel without senders";

impl<T> SendError<T> {
    fn text(&self) -> &'static str {
        NO_RECEIVER
    }
}

impl<T> TrySendError<T> {
    fn text(&self) -> &'static str {
        match self {
            TrySendError::Full(_) => "sending on a full channel",
            TrySendError::Disconnected(_) => NO_RECEIVER,
        }
    }
}

impl<T> SendTimeoutError<T> {
    fn text(&self) -> &'static str {
        match self {
            SendTimeoutError::Timeout(_) => "timed out sending on a full channel",
            SendTimeoutError::Disconnected(_) => NO_RECEIVER,
        }
    }
}

impl RecvError {
    fn text(&self) -> &'static str {
        NO_SENDER
    }
}

impl TryRecvError {
    fn text(&self) -> &'static str {
        match self {
            TryRecvError::Empty => "receiving on an empty channel",
            TryRecvError::Disconnected => NO_SENDER,
        }
    }
}

impl RecvTimeoutError {
    fn text(&self) -> &'static str {
        match self {
            RecvTimeoutError::Timeout => "timed out receiving on an empty channel",
            RecvTimeoutError::Disconnected => NO_SENDER,
        }
    }
}

macro_rules! errors {
    ($($Error:ident $(<$T:ident>)?),*) => {$(
        impl$(<$T>)? fmt::Display for $Error$(<$T>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }

        impl$(<$T>)? core::error::Error for $Error$(<$T>)? where $Error$(<$T>)?: fmt::Debug {}
    )*};
}

errors!(SendError<T>, TrySendError<T>, SendTimeoutError<T>, RecvError, TryRecvError, RecvTimeoutError);

/// Prints the variant without the value, which need not be printable.
macro_rules! debug {
    ($($Error:ident),*) => {$(
        impl<T> fmt::Debug for $Error<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($Error), self.text())
            }
        }
    )*};
}

debug!(SendError, TrySendError, SendTimeoutError);
