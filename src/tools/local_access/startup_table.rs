//! The paths of files that run by themselves, or that configure programs to run others.
//! docs/local-files.md lists the same, and a test compares them.

use super::protected_paths::Table;

/// Such paths below a home directory, by the program that reads them.
#[rustfmt::skip]
pub(super) const HOME: Table = &[
    ("shells", &[".bash_aliases", ".bash_login", ".bash_logout", ".bash_profile", ".bashrc",
        ".config/bash", ".config/elvish", ".config/fish", ".config/nushell", ".config/powershell",
        ".config/xonsh", ".config/zsh", ".cshrc", ".kshrc", ".login", ".logout", ".mkshrc",
        ".oh-my-zsh", ".profile", ".shinit", ".shrc", ".tcshrc", ".xonshrc", ".zlogin", ".zlogout",
        ".zprofile", ".zshenv", ".zshrc"]),
    ("environment of sessions", &[".config/environment.d", ".config/plasma-workspace",
        ".environment", ".pam_environment"]),
    ("sessions of X11", &[".xinitrc", ".xprofile", ".xserverrc", ".xsession", ".xsessionrc"]),
    ("autostart of desktops", &[".config/autostart", ".config/autostart-scripts", ".kde/Autostart",
        ".local/share/applications", ".local/share/dbus-1"]),
    ("systemd", &[".config/systemd", ".config/systemd/user", ".local/share/systemd",
        ".local/share/systemd/user"]),
    ("window managers", &[".config/awesome", ".config/bspwm", ".config/hypr", ".config/i3",
        ".config/labwc", ".config/niri", ".config/openbox", ".config/qtile", ".config/river",
        ".config/sway", ".config/xmonad", ".fluxbox", ".i3", ".xmonad"]),
    ("launchd and scripts of macOS", &[".config/karabiner", ".hammerspoon", ".skhdrc", ".yabairc",
        "Library/Application Scripts", "Library/LaunchAgents", "Library/LaunchDaemons",
        "Library/Scripts", "Library/Services"]),
    ("programs of the user", &[".bun/bin", ".cabal/bin", ".composer/vendor", ".deno/bin",
        ".dotnet/tools", ".ghcup", ".krew", ".local/bin", ".local/lib", ".local/pipx",
        ".local/share/pipx", ".local/share/pnpm", ".local/share/uv/tools", ".nix-profile",
        ".npm-global", ".opam", ".rustup", ".yarn", "bin", "go/bin", "perl5"]),
    ("version managers", &[".asdf", ".asdfrc", ".config/mise", ".local/share/mise", ".nvm",
        ".pyenv", ".rbenv", ".sdkman", ".volta"]),
    ("Cargo", &[".cargo/bin", ".cargo/config", ".cargo/config.toml", ".cargo/env"]),
    ("Git", &[".config/git", ".gitconfig"]),
    ("Subversion", &[".subversion"]),
    ("Vim and Neovim", &[".config/nvim", ".config/vim", ".exrc", ".gvimrc", ".local/share/nvim",
        ".vim", ".vimrc"]),
    ("Emacs", &[".config/doom", ".config/emacs", ".doom.d", ".emacs", ".emacs.d", ".emacs.el",
        ".spacemacs"]),
    ("other editors", &[".atom", ".config/Code/User", ".config/VSCodium/User", ".config/helix",
        ".config/kak", ".config/micro", ".config/sublime-text", ".config/zed", ".vscode",
        ".vscode-oss", ".vscode-server", "Library/Application Support/Code/User",
        "Library/Application Support/VSCodium/User", "Library/Application Support/Zed"]),
    ("debuggers", &[".config/gdb", ".gdbinit", ".lldbinit", ".pdbrc"]),
    ("languages", &[".Rprofile", ".clojure", ".config/clojure", ".config/ghc", ".ghc", ".ghci",
        ".ipython", ".irbrc", ".julia/config", ".lein/profiles.clj", ".ocamlinit", ".octaverc",
        ".pryrc", ".pythonrc", ".pythonrc.py", ".sbt"]),
    ("build tools", &[".bazelrc", ".gradle/init.d", ".gradle/init.gradle",
        ".gradle/init.gradle.kts", ".m2/extensions.xml", ".mavenrc"]),
    ("database clients", &[".mongorc.js", ".mongoshrc.js", ".psqlrc", ".sqliterc"]),
    ("terminals", &[".config/alacritty", ".config/foot", ".config/ghostty", ".config/kitty",
        ".config/tmux", ".config/wezterm", ".config/zellij", ".screenrc", ".tmux", ".tmux.conf",
        ".wezterm.lua"]),
    ("pagers and handlers of files", &[".lessfilter", ".mailcap"]),
    ("mail delivery", &[".forward", ".procmailrc", ".qmail"]),
    ("direnv", &[".config/direnv", ".direnvrc", ".local/share/direnv"]),
    ("packaging", &[".abuild", ".config/home-manager", ".config/nixpkgs", ".config/pacman",
        ".config/rpm", ".devscripts", ".makepkg.conf", ".nixpkgs", ".rpmmacros", ".sbuildrc"]),
    ("logins of others", &[".k5login", ".k5users", ".rhosts", ".shosts"]),
    ("Containers", &[".config/containers"]),
    ("cron", &[".config/crontab", ".crontab"]),
    ("agents", &[".config/amp", ".config/mcp", ".config/opencode"]),
];

/// Such paths in any directory, most of them in projects. Each has one or two names.
#[rustfmt::skip]
pub(super) const ANYWHERE: Table = &[
    ("Git, Mercurial and Jujutsu", &[".git", ".hg", ".jj"]),
    ("hooks of Git", &[".githooks", ".husky", ".lefthook.yml", ".pre-commit-config.yaml",
        "lefthook.yml"]),
    ("direnv and mise", &[".envrc", ".mise.toml", "mise.toml"]),
    ("MCP clients", &[".mcp.json"]),
    ("Claude", &[".claude/agents", ".claude/commands", ".claude/hooks", ".claude/plugins",
        ".claude/settings.json", ".claude/settings.local.json", ".claude/skills"]),
    ("Codex", &[".codex/config.toml", ".codex/hooks.json", ".codex/prompts", ".codex/rules",
        ".codex/skills"]),
    ("Cursor", &[".cursor/cli.json", ".cursor/commands", ".cursor/environment.json",
        ".cursor/extensions", ".cursor/hooks", ".cursor/hooks.json", ".cursor/mcp.json",
        ".cursor/rules"]),
    ("Gemini", &[".gemini/commands", ".gemini/extensions", ".gemini/settings.json"]),
    ("other coding agents", &[".amazonq", ".continue", ".kiro", ".opencode", ".qwen/settings.json",
        ".roo", ".windsurf", "opencode.json"]),
    ("Visual Studio Code", &[".devcontainer", ".devcontainer.json", ".vscode"]),
    ("JetBrains", &[".idea"]),
    ("Vim and Emacs", &[".dir-locals.el", ".exrc", ".lvimrc", ".nvim.lua", ".nvimrc", ".vimrc"]),
    ("Zed", &[".zed"]),
    ("Cargo", &[".cargo/config", ".cargo/config.toml"]),
    ("npm, pnpm, Yarn and Bun", &[".npmrc", ".pnpmfile.cjs", ".yarn", ".yarnrc", ".yarnrc.yml",
        "bunfig.toml"]),
    ("Maven, Bazel and Bundler", &[".bazelrc", ".bundle/config", ".mvn"]),
    ("Python", &["sitecustomize.py", "usercustomize.py"]),
    ("debuggers", &[".gdbinit", ".lldbinit", ".pdbrc"]),
    ("R, Ruby, Haskell and OCaml", &[".Rprofile", ".ghci", ".irbrc", ".ocamlinit", ".pryrc"]),
];

/// Such paths of the system.
#[rustfmt::skip]
pub(super) const SYSTEM: Table = &[
    ("configuration of the machine", &["/etc"]),
    ("programs and libraries", &["/bin", "/lib", "/lib32", "/lib64", "/libx32", "/nix",
        "/opt/homebrew/bin", "/opt/homebrew/sbin", "/sbin", "/snap", "/usr"]),
    ("start of the machine", &["/boot", "/efi"]),
    ("cron and at", &["/private/var/at", "/var/at", "/var/cron", "/var/spool/anacron",
        "/var/spool/at", "/var/spool/cron"]),
    ("services", &["/run/systemd", "/run/udev", "/var/lib/systemd", "/var/service"]),
    ("package managers", &["/var/lib/dpkg", "/var/lib/pacman", "/var/lib/rpm"]),
    ("launchd and programs of macOS", &["/Applications", "/Library/LaunchAgents",
        "/Library/LaunchDaemons", "/Library/PrivilegedHelperTools", "/Library/Scripts",
        "/Library/StartupItems", "/System"]),
];

/// Variables that move such paths elsewhere, as in the table of credentials.
#[rustfmt::skip]
pub(super) const VARIABLES: &[(&str, &[&str])] = &[
    ("BASH_ENV", &[""]),
    ("CARGO_HOME", &["bin", "config", "config.toml", "env"]),
    ("ENV", &[""]),
    ("GIT_CONFIG_GLOBAL", &[""]),
    ("PATH", &[""]),
    ("PYTHONSTARTUP", &[""]),
    ("XDG_RUNTIME_DIR", &["systemd"]),
    ("ZDOTDIR", &[".zlogin", ".zlogout", ".zprofile", ".zshenv", ".zshrc"]),
];
