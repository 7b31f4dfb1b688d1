//! Rows of `chunks`: curves, and curves with fewer points that look the same.

use rusqlite::{Connection, OptionalExtension, Result, params};

/// Points of a chunk. The last one of a curve is written anew with each point that comes, so it must stay small.
const CHUNK: usize = 512;
/// Points that stand for a chunk where a curve is seen from afar: its ends, its extremes, and one that is no number.
const BRIEF: usize = 5;

/// A curve: values over steps of a member. Values that are no numbers are NaN.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Curve {
    /// Rising.
    pub(crate) x: Vec<u64>,
    /// As many.
    pub(crate) y: Vec<f64>,
}

/// What is wanted of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// First step.
    pub(crate) from: u64,
    /// Last step.
    pub(crate) to: u64,
    /// At most so many points.
    pub(crate) points: usize,
}

fn pack(x: &[u64], y: &[f64]) -> (Vec<u8>, Vec<u8>) {
    let steps = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    (steps, y.iter().flat_map(|y| y.to_le_bytes()).collect())
}

fn unpack(steps: &[u8], points: &[u8]) -> impl Iterator<Item = (u64, f64)> {
    let number = |bytes: &[u8]| -> [u8; 8] { bytes.try_into().unwrap_or_default() };
    let steps = steps.chunks_exact(8).map(move |bytes| u64::from_le_bytes(number(bytes)));
    steps.zip(points.chunks_exact(8).map(move |bytes| f64::from_le_bytes(number(bytes))))
}

/// The points that stand for a chunk.
fn brief(x: &[u64], y: &[f64]) -> Vec<u8> {
    let chunk = Curve { x: x.to_vec(), y: y.to_vec() }.thinned(BRIEF);
    let (steps, points) = pack(&chunk.x, &chunk.y);
    [steps, points].concat()
}

impl Curve {
    /// Appends points, which come in the order of their steps.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn append(
        &self,
        db: &Connection,
        run: &str,
        member: &str,
        series: &str,
    ) -> Result<()> {
        let last: Option<(i64, Vec<u8>, Vec<u8>)> = db
            .prepare_cached(
                "SELECT first, steps, points FROM chunks WHERE run = ? AND member = ? AND series = ? AND count < ?
                 ORDER BY first DESC LIMIT 1",
            )?
            .query_row(params![run, member, series, CHUNK as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let mut curve = Curve::default();
        if let Some((first, steps, points)) = last {
            (curve.x, curve.y) = unpack(&steps, &points).unzip();
            db.prepare_cached(
                "DELETE FROM chunks WHERE run = ? AND member = ? AND series = ? AND first = ?",
            )?
            .execute(params![run, member, series, first])?;
        }
        curve.x.extend(&self.x);
        curve.y.extend(&self.y);
        let mut insert =
            db.prepare_cached("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        for (x, y) in curve.x.chunks(CHUNK).zip(curve.y.chunks(CHUNK)) {
            let (steps, points) = pack(x, y);
            let (first, last, count) = (x[0] as i64, x[x.len() - 1] as i64, x.len() as i64);
            let brief = brief(x, y);
            insert
                .execute(params![run, member, series, first, last, count, brief, steps, points])?;
        }
        Ok(())
    }

    /// Takes back what a run said of steps after `step`: of one member, or of all.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn take_back(
        db: &Connection,
        run: &str,
        member: Option<&str>,
        step: u64,
    ) -> Result<()> {
        let step = step as i64;
        db.prepare_cached(
            "DELETE FROM chunks WHERE run = ?1 AND (?2 IS NULL OR member = ?2) AND first > ?3",
        )?
        .execute(params![run, member, step])?;
        type Cut = (String, String, i64, Vec<u8>, Vec<u8>);
        let cut: Vec<Cut> = db
            .prepare_cached(
                "SELECT member, series, first, steps, points FROM chunks
                 WHERE run = ?1 AND (?2 IS NULL OR member = ?2) AND last > ?3",
            )?
            .query_map(params![run, member, step], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })?
            .collect::<Result<_>>()?;
        for (member, series, first, steps, points) in cut {
            let kept = unpack(&steps, &points).filter(|(x, _)| *x as i64 <= step);
            let (x, y): (Vec<u64>, Vec<f64>) = kept.unzip();
            let (steps, points) = pack(&x, &y);
            db.prepare_cached(
                "UPDATE chunks SET last = ?, count = ?, brief = ?, steps = ?, points = ?
                 WHERE run = ? AND member = ? AND series = ? AND first = ?",
            )?
            .execute(params![
                x.last().map_or(first, |&last| last as i64),
                x.len() as i64,
                brief(&x, &y),
                steps,
                points,
                run,
                member,
                series,
                first
            ])?;
        }
        Ok(())
    }

    /// A curve of a member, with at most `window.points` points; none where it has no point there.
    ///
    /// Of a long one, chunks that lie wholly inside the window are known by their brief form, which has every extreme of them.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn read(
        db: &Connection,
        run: &str,
        member: &str,
        series: &str,
        window: Window,
    ) -> Result<Curve> {
        let bound = |step: u64| i64::try_from(step).unwrap_or(i64::MAX);
        let (from, to) = (bound(window.from), bound(window.to));
        // The chunk in which the window begins.
        let start: i64 = db
            .prepare_cached(
                "SELECT coalesce(max(first), 0) FROM chunks WHERE run = ? AND member = ? AND series = ? AND first <= ?",
            )?
            .query_row(params![run, member, series, from], |row| row.get(0))?;
        let mut chunks = db.prepare_cached(
            "SELECT first, last, brief FROM chunks WHERE run = ? AND member = ? AND series = ? AND first BETWEEN ? AND ? ORDER BY first",
        )?;
        let chunks: Vec<(i64, i64, Vec<u8>)> = chunks
            .query_map(params![run, member, series, start, to], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_>>()?;
        let afar = chunks.len().saturating_mul(BRIEF) >= window.points.saturating_mul(2);
        let mut whole = db.prepare_cached(
            "SELECT steps, points FROM chunks WHERE run = ? AND member = ? AND series = ? AND first = ?",
        )?;
        let mut curve = Curve::default();
        let mut add = |points: &mut dyn Iterator<Item = (u64, f64)>| {
            for (x, y) in points.filter(|(x, _)| (window.from..=window.to).contains(x)) {
                curve.x.push(x);
                curve.y.push(y);
            }
        };
        for (first, last, brief) in chunks {
            if afar && first >= from && last <= to {
                let (steps, points) = brief.split_at(brief.len() / 2);
                add(&mut unpack(steps, points));
                continue;
            }
            let mut found = whole.query(params![run, member, series, first])?;
            if let Some(row) = found.next()? {
                let (steps, points) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
                add(&mut unpack(steps, points));
            }
        }
        Ok(curve.thinned(window.points))
    }

    /// At most `points` points: the first and the last, and of each bucket of neighbours the least and the greatest, and one that is no
    /// number, where they stand.
    fn thinned(self, points: usize) -> Curve {
        let count = self.x.len();
        if count <= points {
            return self;
        }
        if points < 5 {
            let picks = (0..points).map(|k| k * (count - 1) / points.saturating_sub(1).max(1));
            let (x, y) = picks.map(|at| (self.x[at], self.y[at])).unzip();
            return Curve { x, y };
        }
        // Three of a bucket at most, and both ends.
        let buckets = (points - 2) / 3;
        let inner = count - 2;
        let mut thin = Curve { x: vec![self.x[0]], y: vec![self.y[0]] };
        for bucket in 0..buckets {
            let (from, to) = (1 + bucket * inner / buckets, 1 + (bucket + 1) * inner / buckets);
            let (mut least, mut most, mut gap) = (None, None, None);
            for at in from..to {
                let y = self.y[at];
                if !y.is_finite() {
                    gap.get_or_insert(at);
                    continue;
                }
                if least.is_none_or(|least: usize| y < self.y[least]) {
                    least = Some(at);
                }
                if most.is_none_or(|most: usize| y > self.y[most]) {
                    most = Some(at);
                }
            }
            let mut picks: Vec<usize> = [least, most, gap].into_iter().flatten().collect();
            picks.sort_unstable();
            picks.dedup();
            for at in picks {
                thin.x.push(self.x[at]);
                thin.y.push(self.y[at]);
            }
        }
        thin.x.push(self.x[count - 1]);
        thin.y.push(self.y[count - 1]);
        thin
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(&folder.path().join("taper.sqlite")).expect("opened");
        (folder, store)
    }

    const ALL: Window = Window { from: 0, to: u64::MAX, points: usize::MAX };

    fn read(store: &Store, window: Window) -> Curve {
        store.read(|db| Curve::read(db, "r", "win-0", "loss", window)).expect("read")
    }

    #[test]
    fn points_come_back_and_a_resume_takes_the_later_ones() {
        let (_folder, store) = store();
        let mut expected = Curve::default();
        for part in 0..30u64 {
            let x: Vec<u64> = (part * 500..(part + 1) * 500).collect();
            let y = x.iter().map(|&x| (x as f64).sin()).collect();
            let curve = Curve { x, y };
            store.write(|db| curve.append(db, "r", "win-0", "loss")).expect("written");
            expected.x.extend(curve.x);
            expected.y.extend(curve.y);
        }
        assert_eq!(read(&store, ALL), expected);
        let back = |member, step| {
            store.write(|db| Curve::take_back(db, "r", member, step)).expect("written");
        };
        back(Some("kd-0"), 10);
        assert_eq!(read(&store, ALL).x.len(), 15_000);
        back(Some("win-0"), 7000);
        assert_eq!(read(&store, ALL).x, (0..=7000).collect::<Vec<_>>());
        let more = Curve { x: vec![7001], y: vec![f64::NAN] };
        store.write(|db| more.append(db, "r", "win-0", "loss")).expect("written");
        let all = read(&store, ALL);
        assert_eq!((all.x.len(), all.y[7001].is_nan()), (7002, true));
        let window = Window { from: 4090, to: 4100, points: 100 };
        assert_eq!(read(&store, window).x, (4090..=4100).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_curve_is_the_same_from_afar() {
        let (_folder, store) = store();
        let x: Vec<u64> = (0..300_000).map(|x| 3 * x).collect();
        let mut y: Vec<f64> = x.iter().map(|&x| (x as f64 / 7000.0).sin()).collect();
        (y[31_234], y[250_001], y[120_000]) = (9.0, -9.0, f64::NAN);
        for (x, y) in x.chunks(10_000).zip(y.chunks(10_000)) {
            let part = Curve { x: x.to_vec(), y: y.to_vec() };
            store.write(|db| part.append(db, "r", "win-0", "loss")).expect("written");
        }
        for (from, to) in [(0, u64::MAX), (93_000, 750_100)] {
            let window = Window { from, to, points: 300 };
            let thin = read(&store, window);
            assert!(thin.x.len() <= 300 && thin.x.len() > 100, "{}", thin.x.len());
            assert!(thin.x.windows(2).all(|pair| pair[0] < pair[1]));
            let (first, last) = (from.div_ceil(3) * 3, (to.min(3 * 299_999)) / 3 * 3);
            assert_eq!((thin.x[0], thin.x[thin.x.len() - 1]), (first, last));
            // The extremes of the window, where they stand; the first window has both, the second begins behind one of them.
            let at = |x: u64, y: f64| thin.x.iter().zip(&thin.y).any(|p| p == (&x, &y));
            assert_eq!(at(3 * 31_234, 9.0), from < 93_702);
            assert!(at(3 * 250_001, -9.0) && thin.y.iter().any(|y| y.is_nan()));
        }
        // Near enough, every point.
        let near = read(&store, Window { from: 3000, to: 6000, points: 2000 });
        assert_eq!(near.x, (1000..=2000).map(|x| 3 * x).collect::<Vec<u64>>());
        assert_eq!(near.y, y[1000..=2000]);
    }

    #[test]
    fn fewer_points_keep_the_extremes_the_ends_and_the_gaps() {
        let x: Vec<u64> = (0..100_000).collect();
        let mut y: Vec<f64> = x.iter().map(|&x| (x as f64 / 900.0).sin()).collect();
        (y[31_234], y[77_777], y[50_001]) = (9.0, -9.0, f64::NAN);
        for points in [5, 100, 1000] {
            let thin = Curve { x: x.clone(), y: y.clone() }.thinned(points);
            assert!(thin.x.len() <= points, "{} of {points}", thin.x.len());
            assert!(thin.x.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!((thin.x[0], thin.x[thin.x.len() - 1]), (0, 99_999));
            assert!(thin.y.contains(&9.0) && thin.y.contains(&-9.0));
            assert!(thin.y.iter().any(|y| y.is_nan()));
        }
        assert_eq!(Curve { x, y }.thinned(2).x, [0, 99_999]);
    }
}
