//! Trying several candidates on one image, and keeping the best.

use futures_util::{StreamExt as _, stream};

use super::image::Image;
use crate::Error;

/// The best of several candidates.
#[derive(Debug)]
#[non_exhaustive]
pub struct Best<S, V> {
    /// Its index among the candidates, from 0.
    pub candidate: usize,
    /// Its score.
    pub score: S,
    /// Its value, such as an image.
    pub value: V,
    /// The candidates that failed, with their errors. They lose.
    pub failures: Vec<(usize, Error)>,
}

/// Runs a closure for each candidate, at most `concurrency` of them at once, and returns the one
/// with the highest score. Of equal scores, the first candidate wins.
///
/// - Candidates that fail lose. It is an error only if all of them fail.
/// - The images of losers stay on the backend without a tag, until they are removed as unused.
/// - Dropping the future drops the closures' futures, which cancels their runs; see
///   [`Command`](super::Command).
///
/// ```no_run
/// # async fn example(base: contree::Image) -> Result<(), contree::Error> {
/// let best = contree::best_of(&base, 0..20, 8, |image, seed| async move {
///     let run = image.shell("./solve > /answer; wc -c < /answer").env("SEED", seed);
///     let out = run.await?.ok()?;
///     let score: u64 = out.stdout.text()?.trim().parse().map_err(contree::Error::other)?;
///     Ok((score, out.image))
/// })
/// .await?;
/// best.value.tag("best").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The first error if all candidates fail. [`Error::InvalidArgument`] if there are no candidates,
/// or if `concurrency` is 0.
pub async fn best_of<I, F, R, S, V>(
    image: &Image,
    candidates: I,
    concurrency: usize,
    evaluate: F,
) -> Result<Best<S, V>, Error>
where
    I: IntoIterator,
    F: FnMut(Image, I::Item) -> R,
    R: Future<Output = Result<(S, V), Error>>,
    S: PartialOrd,
{
    best_of_until(image, candidates, concurrency, |_| false, evaluate).await
}

/// Like [`best_of`], but ends as soon as a candidate has a score that is good enough.
///
/// The candidates that still run then lose: their futures are dropped, which cancels their runs.
/// Later candidates are not started.
///
/// # Errors
/// The errors of [`best_of`].
pub async fn best_of_until<I, F, R, S, V>(
    image: &Image,
    candidates: I,
    concurrency: usize,
    is_good_enough: impl Fn(&S) -> bool,
    mut evaluate: F,
) -> Result<Best<S, V>, Error>
where
    I: IntoIterator,
    F: FnMut(Image, I::Item) -> R,
    R: Future<Output = Result<(S, V), Error>>,
    S: PartialOrd,
{
    if concurrency == 0 {
        return Err(Error::InvalidArgument(
            "a concurrency of 0 starts no candidate; give at least 1".to_owned(),
        ));
    }
    let evaluations = candidates.into_iter().enumerate().map(|(at, candidate)| {
        let evaluation = evaluate(image.clone(), candidate);
        async move { (at, evaluation.await) }
    });
    let mut evaluations = std::pin::pin!(stream::iter(evaluations).buffer_unordered(concurrency));
    let mut best: Option<(usize, S, V)> = None;
    let mut failures = Vec::new();
    while let Some((at, evaluated)) = evaluations.next().await {
        match evaluated {
            Ok((score, value)) => {
                let ends = is_good_enough(&score);
                if is_better(at, &score, best.as_ref()) {
                    best = Some((at, score, value));
                }
                if ends {
                    break;
                }
            }
            Err(error) => failures.push((at, error)),
        }
    }
    match best {
        Some((candidate, score, value)) => Ok(Best {
            candidate,
            score,
            value,
            failures,
        }),
        None => {
            failures.sort_by_key(|(at, _)| *at);
            let first = failures.into_iter().next().map(|(_, error)| error);
            Err(first.unwrap_or_else(|| {
                Error::InvalidArgument("there are no candidates; give at least one".to_owned())
            }))
        }
    }
}

/// Whether a score beats the best one so far. A score that cannot be compared, such as NaN, beats
/// none.
fn is_better<S: PartialOrd, V>(at: usize, score: &S, best: Option<&(usize, S, V)>) -> bool {
    match best {
        None => true,
        // The best one so far cannot even be compared with itself.
        Some((_, best, _)) if best.partial_cmp(best).is_none() => {
            score.partial_cmp(score).is_some()
        }
        Some((index, best, _)) => score > best || (score == best && at < *index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_highest_scores_wins() {
        let best = |score: f64, at| Some((at, score, ()));
        assert!(is_better(1, &2.0, best(1.0, 0).as_ref()));
        assert!(!is_better(1, &1.0, best(1.0, 0).as_ref()));
        assert!(is_better(0, &1.0, best(1.0, 1).as_ref()));
        assert!(!is_better(0, &f64::NAN, best(1.0, 1).as_ref()));
        assert!(is_better(1, &1.0, best(f64::NAN, 0).as_ref()));
        assert!(is_better(0, &f64::NAN, None::<(usize, f64, ())>.as_ref()));
    }
}
