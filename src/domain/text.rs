//! Values that a command takes as text: arguments, variables and paths.

use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use crate::Error;

/// A value that a command takes as text.
///
/// Strings, paths, numbers, booleans, addresses and UUIDs implement it, and references to them.
pub trait ToText {
    /// The text.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the value is not UTF-8 text, such as some paths.
    fn to_text(&self) -> Result<String, Error>;
}

impl<T: ToText + ?Sized> ToText for &T {
    fn to_text(&self) -> Result<String, Error> {
        (**self).to_text()
    }
}

impl<T: ToText + ?Sized> ToText for Box<T> {
    fn to_text(&self) -> Result<String, Error> {
        (**self).to_text()
    }
}

macro_rules! displayed {
    ($($type:ty)+) => {
        $(impl ToText for $type {
            fn to_text(&self) -> Result<String, Error> {
                Ok(self.to_string())
            }
        })+
    };
}

displayed! {
    str String Cow<'_, str> char bool
    u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64
    IpAddr Ipv4Addr Ipv6Addr SocketAddr uuid::Uuid
}

macro_rules! path_like {
    ($($type:ty)+) => {
        $(impl ToText for $type {
            fn to_text(&self) -> Result<String, Error> {
                let text: &OsStr = self.as_ref();
                text.to_str().map(str::to_owned).ok_or_else(|| {
                    Error::InvalidArgument(format!("`{}` is not UTF-8 text", text.display()))
                })
            }
        })+
    };
}

path_like!(Path PathBuf OsStr OsString);

/// The texts of all values.
pub(super) fn texts<I>(values: I) -> Result<Vec<String>, Error>
where
    I: IntoIterator,
    I::Item: ToText,
{
    values.into_iter().map(|value| value.to_text()).collect()
}
