//! Sessions: commands one after the other, each on the image that the one before has made.

mod command;

use std::{fmt, path::Path};

use super::{
    image::Image,
    session_file::{Entry, Header, SessionFile},
    step::{Settings, Step},
    text::ToText,
};
use crate::{Client, Error, ImageRef, client::blocking};

pub use command::SessionCommand;

/// A sequence of commands, each on the image that the one before has made.
///
/// It keeps the image, the variables and the directory to start in. A command that exits with
/// another status than 0 also moves the session on; [`rollback`](Self::rollback) returns to an
/// earlier image. A run that fails, or whose future is dropped, leaves the session as it is.
///
/// [`persist`](Self::persist) gives the session a file of its own. With it, the log survives the
/// process; [`Client::session`] opens them again.
///
/// ```no_run
/// # async fn example(base: contree::Image) -> Result<(), contree::Error> {
/// let mut session = base.session().env("WHO", "agent").cwd("/work");
/// session.shell("git init").await?.ok()?;
/// session.shell("rm -rf .git").await?;
/// session.rollback(1).await?;
/// let mut other = session.branch();
/// other.shell("touch only-here").await?.ok()?;
/// # Ok(())
/// # }
/// ```
pub struct Session {
    /// The image that the session began with.
    base: Image,
    steps: Vec<Step>,
    settings: Settings,
    /// The first setting that is not text. Commands report it.
    problem: Option<String>,
    /// Whether the file lacks the settings.
    is_changed: bool,
    file: Option<SessionFile>,
}

impl Image {
    /// A session that begins with this image. It is in memory only; see [`Session::persist`].
    pub fn session(&self) -> Session {
        Session {
            base: self.clone(),
            steps: Vec::new(),
            settings: Settings::default(),
            problem: None,
            is_changed: false,
            file: None,
        }
    }
}

impl Client {
    /// Opens a session that [`Session::persist`] has stored under this name or path.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read. [`Error::InvalidArgument`] if another handle has
    /// the session open, or if it belongs to another backend.
    pub async fn session(&self, name: impl AsRef<Path>) -> Result<Session, Error> {
        let name = name.as_ref().to_owned();
        let backend = self.backend().identity();
        let opened = blocking(move || SessionFile::open(&name, &backend)).await?;
        let (file, header, entries) = opened;
        let mut session = Session {
            base: self.image(header.image),
            steps: Vec::new(),
            settings: header.settings,
            problem: None,
            is_changed: false,
            file: Some(file),
        };
        for entry in entries {
            session.apply(entry);
        }
        Ok(session)
    }
}

impl Session {
    /// Sets a variable of all commands.
    #[must_use]
    pub fn env(mut self, name: impl ToText, value: impl ToText) -> Self {
        self.set_env(name, value);
        self
    }

    /// Sets the directory in which commands start, which is an absolute path in the sandbox.
    #[must_use]
    pub fn cwd(mut self, directory: impl ToText) -> Self {
        self.set_cwd(directory);
        self
    }

    /// Sets a variable of all further commands. The session's file gets it with the next command.
    pub fn set_env(&mut self, name: impl ToText, value: impl ToText) {
        self.change(|settings| {
            let variable = (name.to_text()?, Some(value.to_text()?));
            settings.env.extend([variable]);
            Ok(())
        });
    }

    /// Removes a variable of the image from all further commands.
    pub fn remove_env(&mut self, name: impl ToText) {
        self.change(|settings| {
            settings.env.insert(name.to_text()?, None);
            Ok(())
        });
    }

    /// Sets the directory in which further commands start. The session's file gets it with the next
    /// command.
    pub fn set_cwd(&mut self, directory: impl ToText) {
        self.change(|settings| {
            settings.cwd = Some(directory.to_text()?);
            Ok(())
        });
    }

    fn change(&mut self, change: impl FnOnce(&mut Settings) -> Result<(), Error>) {
        match change(&mut self.settings) {
            Ok(()) => self.is_changed = true,
            Err(error) => {
                self.problem.get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// The current image.
    pub fn image(&self) -> Image {
        match self.steps.last() {
            Some(step) => self.base.client().image(step.image),
            None => self.base.clone(),
        }
    }

    /// The commands that led to the current image, oldest first.
    pub fn log(&self) -> &[Step] {
        &self.steps
    }

    /// Returns to the image before the last `count` commands, and removes them from the log. The
    /// variables and the directory stay. The images stay on the backend, without a tag.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the log has fewer commands; the session then stays as it is.
    /// [`Error::Io`] if the session's file cannot be written.
    pub async fn rollback(&mut self, count: usize) -> Result<(), Error> {
        if count > self.steps.len() {
            return Err(Error::InvalidArgument(format!(
                "the session has {} commands, so {count} of them cannot be undone; give a smaller number",
                self.steps.len()
            )));
        }
        self.record(Entry::Rollback { count }).await
    }

    /// A session with the same image, log and settings, and without a file. Commands of one do not
    /// affect the other.
    #[must_use]
    pub fn branch(&self) -> Self {
        Self {
            base: self.base.clone(),
            steps: self.steps.clone(),
            settings: self.settings.clone(),
            problem: self.problem.clone(),
            is_changed: false,
            file: None,
        }
    }

    /// Stores the session in a new file, to which each further command is added.
    ///
    /// A name without a separator is that of a file in the directory `sessions` of the state
    /// directory (`CONTREE_STATE_DIR`); anything else is a path. Only the user can read the file,
    /// which has the commands and the variables with their values.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the file exists: open it with [`Client::session`], or choose
    /// another name. [`Error::Io`] if it cannot be written.
    pub async fn persist(mut self, name: impl AsRef<Path>) -> Result<Self, Error> {
        // A tag may move while the process is away.
        self.base = self.base.pin().await?;
        let header = Header::new(
            self.base.client().backend().identity(),
            ImageRef::try_from(&self.base)?,
            self.settings.clone(),
        );
        let entries: Vec<Entry> = self.steps.iter().cloned().map(Entry::Step).collect();
        let name = name.as_ref().to_owned();
        let created = blocking(move || SessionFile::create(&name, &header, &entries)).await?;
        self.file = Some(created);
        self.is_changed = false;
        Ok(self)
    }

    /// A command for the image's shell. Awaiting it moves the session on.
    pub fn shell(&mut self, script: impl ToText) -> SessionCommand<'_> {
        let command = self.image().shell(script);
        SessionCommand::new(self, command)
    }

    /// A program with its arguments. Awaiting it moves the session on.
    pub fn exec<I>(&mut self, program: impl ToText, args: I) -> SessionCommand<'_>
    where
        I: IntoIterator,
        I::Item: ToText,
    {
        let command = self.image().exec(program, args);
        SessionCommand::new(self, command)
    }

    /// Changes the session as an entry of its file says.
    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Step(step) => self.steps.push(step),
            Entry::Rollback { count } => {
                let left = self.steps.len().saturating_sub(count);
                self.steps.truncate(left);
            }
            Entry::Settings(settings) => self.settings = settings,
        }
    }

    /// Changes the session, and its file if it has one. If that fails, neither has changed.
    ///
    /// File and memory change without a pause between them, so a dropped future leaves them equal.
    async fn record(&mut self, entry: Entry) -> Result<(), Error> {
        let Some(file) = self.file.clone() else {
            self.apply(entry);
            return Ok(());
        };
        let settings = self.is_changed.then(|| self.settings.clone());
        let entries: Vec<Entry> = settings
            .map(Entry::Settings)
            .into_iter()
            .chain([entry.clone()])
            .collect();
        let length = file.append(&entries)?;
        let (steps, was_changed) = (self.steps.clone(), self.is_changed);
        self.apply(entry);
        self.is_changed = false;
        let synced = {
            let file = file.clone();
            blocking(move || file.sync()).await
        };
        if synced.is_err() {
            file.shorten(length);
            (self.steps, self.is_changed) = (steps, was_changed);
        }
        synced
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values of variables may be secrets.
        f.debug_struct("Session")
            .field("image", &self.image())
            .field("steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, unix, feature = "testing"))]
mod tests {
    use crate::testing::{ScriptedRun, StubServer};

    #[tokio::test]
    async fn a_step_that_cannot_be_recorded_is_not_in_the_session() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.jsonl");
        let server = StubServer::start().unwrap();
        server.add_image("base", &[]);
        server.script(ScriptedRun::new("true"));
        let client = server.client().unwrap();
        let session = client.image("tag:base").session();
        let mut session = session.persist(&path).await.unwrap();
        session.shell("true").await.unwrap();
        let image = session.image().uuid().await.unwrap();

        let writable = session.file.take().unwrap();
        session.file = Some(writable.unwritable().unwrap());
        assert!(session.shell("true").await.is_err());
        assert_eq!(session.log().len(), 1);
        assert_eq!(session.image().uuid().await.unwrap(), image);
        assert!(session.rollback(1).await.is_err());
        assert_eq!(session.log().len(), 1);

        session.file = Some(writable);
        session.shell("true").await.unwrap();
        session.rollback(1).await.unwrap();
        drop(session);
        let opened = client.session(&path).await.unwrap();
        assert_eq!(opened.image().uuid().await.unwrap(), image);
    }
}
