/// The subject of a book.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize
)]
pub enum Genre {
    /// `crime`.
    #[serde(rename = "crime")]
    Crime,
    /// `science-fiction`.
    #[serde(rename = "science-fiction")]
    ScienceFiction,
}
impl Genre {
    /// All values, in the order of the API document.
    pub const ALL: &'static [Self] = &[Self::Crime, Self::ScienceFiction];
    /// The value as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crime => "crime",
            Self::ScienceFiction => "science-fiction",
        }
    }
}
impl std::fmt::Display for Genre {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
impl std::str::FromStr for Genre {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "crime" => Ok(Self::Crime),
            "science-fiction" => Ok(Self::ScienceFiction),
            _ => Err(()),
        }
    }
}
/// The credentials of a reader.
#[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Login {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}
/// A book to add.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BookRequest {
    /// Its title.
    pub title: String,
    #[serde(default = "BookRequest::default_pages")]
    pub pages: u16,
    #[serde(default = "BookRequest::default_type")]
    pub r#type: Genre,
    #[serde(default)]
    pub lendable: bool,
    #[serde(default)]
    pub notes: Option<std::collections::BTreeMap<String, Option<String>>>,
    #[serde(rename = "x-shelf", default, skip_serializing_if = "Option::is_none")]
    pub x_shelf: Option<Shelf>,
}
impl BookRequest {
    /// The value if `pages` is left out.
    pub fn default_pages() -> u16 {
        100
    }
    /// The value if `type` is left out.
    pub fn default_type() -> Genre {
        Genre::Crime
    }
}
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum ShelfOwner {
    /// A `String`.
    String(String),
    /// A `Integer`.
    Integer(u64),
}
/// The position of a book.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shelf {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<ShelfOwner>,
}
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize
)]
pub enum BookState {
    /// `new`.
    #[serde(rename = "new")]
    New,
    /// `worn`.
    #[serde(rename = "worn")]
    Worn,
}
impl BookState {
    /// All values, in the order of the API document.
    pub const ALL: &'static [Self] = &[Self::New, Self::Worn];
    /// The value as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Worn => "worn",
        }
    }
}
impl std::fmt::Display for BookState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
impl std::str::FromStr for BookState {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "new" => Ok(Self::New),
            "worn" => Ok(Self::Worn),
            _ => Err(()),
        }
    }
}
/// A book.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Book {
    pub title: uuid::Uuid,
    #[serde(default = "Book::default_pages")]
    pub pages: u16,
    #[serde(default = "Book::default_type")]
    pub r#type: Genre,
    #[serde(default)]
    pub lendable: bool,
    #[serde(default)]
    pub notes: Option<std::collections::BTreeMap<String, Option<String>>>,
    #[serde(rename = "x-shelf", default, skip_serializing_if = "Option::is_none")]
    pub x_shelf: Option<Shelf>,
    pub id: uuid::Uuid,
    #[serde(default)]
    pub isbn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<BookState>,
}
impl Book {
    /// The value if `pages` is left out.
    pub fn default_pages() -> u16 {
        100
    }
    /// The value if `type` is left out.
    pub fn default_type() -> Genre {
        Genre::Crime
    }
}
/// A book or a shelf.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Thing {
    /// A `Book`.
    Book(Book),
    /// A `Shelf`.
    Shelf(Shelf),
}
/// Query parameters of `listBooks`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ListBooksQuery {
    /// Maximum number of books.
    #[serde(default = "ListBooksQuery::default_limit")]
    pub limit: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genre: Option<Genre>,
    #[serde(default)]
    pub word: Vec<String>,
    #[serde(default)]
    pub lent: bool,
}
impl ListBooksQuery {
    /// The value if `limit` is left out.
    pub fn default_limit() -> u64 {
        100
    }
}
