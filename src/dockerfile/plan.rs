//! The stages of a Dockerfile, and those that a target needs.

use super::error::{DockerfileError, Problem};
use super::expand::expand;
use super::instruction::{Instruction, InstructionKind};
use super::parse::{ParsedStage, parse};
use super::variables::BuildArguments;

/// The image without files.
const SCRATCH: &str = "scratch";

/// A Dockerfile.
pub(crate) struct Dockerfile {
    escape: char,
    global: Vec<Instruction>,
    stages: Vec<ParsedStage>,
}

/// The stages to build, each after those that it needs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) stages: Vec<PlannedStage>,
    pub(crate) escape: char,
}

/// A stage to build.
#[derive(Debug)]
pub(crate) struct PlannedStage {
    /// Its index in the file, from 0.
    pub(crate) index: usize,
    pub(crate) line: usize,
    /// The text of its `FROM`.
    pub(crate) text: String,
    pub(crate) base: Base,
    pub(crate) instructions: Vec<Instruction>,
    /// The stages or images of its `COPY --from`, in order.
    pub(crate) copies: Vec<CopyFrom>,
}

/// The image with which a stage begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// No files.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image by its name.
    Image(String),
}

/// The source of a `COPY --from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopyFrom {
    Stage(usize),
    Image(String),
}

impl Plan {
    /// The number of steps. Each makes an image.
    pub(crate) fn steps(&self) -> usize {
        let of_stage = |stage: &PlannedStage| {
            let steps = stage.instructions.iter().filter(|one| one.kind.is_step());
            1 + steps.count()
        };
        self.stages.iter().map(of_stage).sum()
    }
}

impl Dockerfile {
    /// Reads the text of a Dockerfile.
    ///
    /// # Errors
    /// The first mistake.
    pub(crate) fn parse(text: &str) -> Result<Self, DockerfileError> {
        let parsed = parse(text)?;
        Ok(Self {
            escape: parsed.escape,
            global: parsed.global,
            stages: parsed.stages,
        })
    }

    /// The names of the stages that have one.
    pub(crate) fn stage_names(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().filter_map(|stage| stage.name.as_deref())
    }

    /// The index of a stage, by its name or number.
    pub(crate) fn stage(&self, name: &str) -> Option<usize> {
        self.stage_before(name, self.stages.len())
    }

    fn stage_before(&self, name: &str, end: usize) -> Option<usize> {
        let name = name.to_lowercase();
        let mut stages = self.stages[..end].iter();
        let by_name = stages.rposition(|stage| stage.name.as_deref() == Some(&name));
        by_name.or_else(|| name.parse().ok().filter(|index| *index < end))
    }

    /// The stages that a target needs; without one, the last stage.
    ///
    /// # Errors
    /// A `FROM` without an image, or for another platform.
    pub(crate) fn plan(
        &self,
        target: Option<usize>,
        arguments: &mut BuildArguments,
    ) -> Result<Plan, DockerfileError> {
        for instruction in &self.global {
            if let InstructionKind::Arg(declared) = &instruction.kind {
                let done = arguments.declare_global(declared, self.escape);
                done.map_err(|problem| problem.at(instruction.line))?;
            }
        }
        let target = target.unwrap_or(self.stages.len().saturating_sub(1));
        let mut planned: Vec<Option<PlannedStage>> = Vec::with_capacity(target + 1);
        for index in 0..=target.min(self.stages.len().saturating_sub(1)) {
            planned.push(Some(self.planned(index, arguments)?));
        }
        let mut is_needed = vec![false; planned.len()];
        if let Some(last) = is_needed.last_mut() {
            *last = true;
        }
        // Stages need only earlier ones.
        for index in (0..planned.len()).rev() {
            let Some(stage) = planned[index].as_ref().filter(|_| is_needed[index]) else {
                planned[index] = None;
                continue;
            };
            if let Base::Stage(base) = stage.base {
                is_needed[base] = true;
            }
            for copy in &stage.copies {
                if let CopyFrom::Stage(source) = copy {
                    is_needed[*source] = true;
                }
            }
        }
        Ok(Plan {
            stages: planned.into_iter().flatten().collect(),
            escape: self.escape,
        })
    }

    fn planned(
        &self,
        index: usize,
        arguments: &BuildArguments,
    ) -> Result<PlannedStage, DockerfileError> {
        let stage = &self.stages[index];
        let expanded = |text: &str| {
            let expanded = expand(text, self.escape, &|name| arguments.of_from(name));
            expanded.map_err(|problem| problem.at(stage.line))
        };
        if let Some(platform) = &stage.platform {
            let platform = expanded(platform)?;
            let own = arguments.own_platform();
            // A variant such as `linux/arm64/v8` is that of every machine of the architecture.
            if !platform.is_empty() && platform != own && !platform.starts_with(&format!("{own}/"))
            {
                let own = own.to_owned();
                let given = platform;
                return Err(Problem::Platform { given, own }.at(stage.line));
            }
        }
        let image = expanded(&stage.image)?;
        if image.is_empty() {
            return Err(Problem::NoImage(stage.image.clone()).at(stage.line));
        }
        let lower = image.to_lowercase();
        let mut earlier = self.stages[..index].iter();
        let base = match earlier.rposition(|stage| stage.name.as_ref() == Some(&lower)) {
            Some(base) => Base::Stage(base),
            None if image == SCRATCH => Base::Scratch,
            None => Base::Image(image),
        };
        let mut copies = Vec::new();
        for instruction in &stage.instructions {
            if let InstructionKind::Copy(copy) = &instruction.kind
                && let Some(from) = &copy.from
            {
                copies.push(match self.stage_before(from, index) {
                    Some(source) => CopyFrom::Stage(source),
                    None if self.stage(from).is_some() => {
                        return Err(Problem::LaterStage(from.clone()).at(instruction.line));
                    }
                    None => CopyFrom::Image(from.clone()),
                });
            }
        }
        Ok(PlannedStage {
            index,
            line: stage.line,
            text: stage.text.clone(),
            base,
            instructions: stage.instructions.clone(),
            copies,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const STAGES: &str = "\
ARG TAG=1
ARG NAME=base:${TAG}
FROM ${NAME} AS Build
RUN a
FROM scratch AS unused
COPY x /
FROM build AS test
RUN b
FROM scratch
COPY --from=build /a /b
COPY --from=2 /a /c
COPY --from=other:1 /a /d
ENV A=b
";

    fn plan(text: &str, target: Option<&str>, given: &[(&str, &str)]) -> Result<Plan, String> {
        let given: BTreeMap<_, _> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let file = Dockerfile::parse(text).map_err(|error| error.to_string())?;
        let target = target.map(|name| file.stage(name).unwrap());
        file.plan(target, &mut BuildArguments::new(given, "amd64"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_needed_stages_are_built() {
        let all = plan(STAGES, None, &[("TAG", "2")]).unwrap();
        let built: Vec<_> = all
            .stages
            .iter()
            .map(|s| (s.index, s.base.clone()))
            .collect();
        assert_eq!(
            built,
            [
                (0, Base::Image("base:2".to_owned())),
                (2, Base::Stage(0)),
                (3, Base::Scratch)
            ]
        );
        assert_eq!(
            all.stages[2].copies,
            [
                CopyFrom::Stage(0),
                CopyFrom::Stage(2),
                CopyFrom::Image("other:1".to_owned())
            ]
        );
        assert_eq!(all.steps(), 2 + 2 + 5);
        let test = plan(STAGES, Some("TEST"), &[]).unwrap();
        assert_eq!(test.stages.len(), 2);
        let unused = plan(STAGES, Some("unused"), &[]).unwrap();
        assert_eq!((unused.stages.len(), unused.stages[0].line), (1, 5));
    }

    #[test]
    fn impossible_stages_are_errors() {
        for (text, part) in [
            ("ARG A\nFROM $A\n", "line 2: FROM names no image"),
            ("FROM --platform=linux/s390x a\n", "linux/amd64"),
            (
                "FROM a AS x\nCOPY --from=y / /\nFROM b AS y\n",
                "`y` comes later",
            ),
            ("FROM a AS x\nFROM b AS x\n", "line 2"),
        ] {
            let error = plan(text, None, &[]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        for platform in ["linux/amd64", "$BUILDPLATFORM", "${TARGETPLATFORM}"] {
            assert!(plan(&format!("FROM --platform={platform} a\n"), None, &[]).is_ok());
        }
    }
}
