//! The codes of Contree's errors, each with its cause and remedy.
//!
//! A code is stable: a release may add codes, but never changes the meaning of one. The message of
//! an error describes this case, and the code names the kind of error.
//!
//! ```
//! use contree_error_codes::ErrorCode;
//!
//! let code: ErrorCode = "disk-full".parse()?;
//! assert_eq!(code, ErrorCode::DiskFull);
//! println!("{}\n{}", code.cause(), code.remedy());
//! # Ok::<(), contree_error_codes::UnknownCode>(())
//! ```

#![forbid(unsafe_code)]

#[macro_use]
mod table;

use std::fmt;
use std::io;
use std::str::FromStr;

/// Defines [`ErrorCode`] from the table.
macro_rules! define {
    ($(
        $section:literal {
            $( $variant:ident $name:literal $cause:literal $remedy:literal )*
        }
    )*) => {
        /// The code of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(
                #[doc = $cause]
                #[doc = ""]
                #[doc = $remedy]
                $variant,
            )*)*
        }

        /// The sections of the table, each with its codes.
        pub const SECTIONS: &[(&str, &[ErrorCode])] = &[
            $( ($section, &[ $(ErrorCode::$variant),* ]) ),*
        ];

        impl ErrorCode {
            /// All codes, in the order of the table.
            pub const ALL: &[Self] = &[ $($(Self::$variant),*),* ];

            /// The code as answers and messages show it, such as `disk-full`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($( Self::$variant => $name, )*)*
                }
            }

            /// The cause, as a sentence.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self {
                    $($( Self::$variant => $cause, )*)*
                }
            }

            /// The remedy, as a sentence.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self {
                    $($( Self::$variant => $remedy, )*)*
                }
            }
        }
    };
}

codes!(define);

/// The error for a text that is not the code of any error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownCode;

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no error has this code")
    }
}

impl std::error::Error for UnknownCode {}

impl FromStr for ErrorCode {
    type Err = UnknownCode;

    fn from_str(name: &str) -> Result<Self, UnknownCode> {
        let found = Self::ALL.iter().find(|code| code.name() == name);
        found.copied().ok_or(UnknownCode)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ErrorCode {
    /// The code of an operating system's error whose remedy does not depend on the failed call.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Option<Self> {
        /// The numbers of ENFILE and EMFILE, which are the same on all Unix systems.
        const NO_DESCRIPTORS: [i32; 2] = [23, 24];
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Self::DiskFull),
            _ if cfg!(unix) => {
                let number = error.raw_os_error()?;
                NO_DESCRIPTORS
                    .contains(&number)
                    .then_some(Self::TooFewDescriptors)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let mut names: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        for name in &names {
            assert!(
                name.split('-').all(|word| {
                    !word.is_empty()
                        && word
                            .bytes()
                            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                }),
                "{name}"
            );
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn causes_and_remedies_are_single_sentences() {
        for code in ErrorCode::ALL {
            for sentence in [code.cause(), code.remedy()] {
                let words = sentence.split_whitespace().count();
                assert!((3..=30).contains(&words), "{code}: {sentence}");
                assert!(sentence.ends_with('.'), "{code}: {sentence}");
                assert!(!sentence.contains(". "), "{code}: {sentence}");
                assert!(
                    sentence.starts_with(|c: char| c.is_uppercase() || c == '`'),
                    "{code}: {sentence}"
                );
            }
        }
    }

    #[test]
    fn each_code_is_in_one_section_and_can_be_read_back() {
        let in_sections: Vec<ErrorCode> = SECTIONS
            .iter()
            .flat_map(|(_, codes)| codes.iter().copied())
            .collect();
        assert_eq!(in_sections, ErrorCode::ALL);
        for code in ErrorCode::ALL {
            assert_eq!(code.name().parse(), Ok(*code));
        }
        assert_eq!("disk-fuller".parse::<ErrorCode>(), Err(UnknownCode));
    }

    #[test]
    fn a_full_disk_and_too_few_descriptors_are_known_everywhere() {
        let of = |kind: io::ErrorKind| ErrorCode::of_io(&kind.into());
        assert_eq!(of(io::ErrorKind::StorageFull), Some(ErrorCode::DiskFull));
        assert_eq!(of(io::ErrorKind::NotFound), None);
        #[cfg(unix)]
        {
            let too_few = io::Error::from_raw_os_error(24);
            assert_eq!(
                ErrorCode::of_io(&too_few),
                Some(ErrorCode::TooFewDescriptors)
            );
        }
    }
}
