//! Rows of `chunks`: curves, and curves with fewer points that look the same.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::Result;

/// Points of a chunk. The last one of a curve is written anew with each point that comes, so it must stay small.
const CHUNK: usize = 512;

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
            db.prepare_cached("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
        for (x, y) in curve.x.chunks(CHUNK).zip(curve.y.chunks(CHUNK)) {
            let (steps, points) = pack(x, y);
            let (first, last) = (x[0] as i64, x[x.len() - 1] as i64);
            insert.execute(params![
                run,
                member,
                series,
                first,
                last,
                x.len() as i64,
                steps,
                points
            ])?;
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
                "UPDATE chunks SET last = ?, count = ?, steps = ?, points = ?
                 WHERE run = ? AND member = ? AND series = ? AND first = ?",
            )?
            .execute(params![
                x.last().map_or(first, |&last| last as i64),
                x.len() as i64,
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

    /// Curves of a run by member and series, each with at most `window.points` points.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn read(
        db: &Connection,
        run: &str,
        member: Option<&str>,
        series: &[String],
        window: Window,
    ) -> Result<BTreeMap<(String, String), Curve>> {
        let mut statement = db.prepare_cached(
            "SELECT member, series, steps, points FROM chunks
             WHERE run = ?1 AND (?2 IS NULL OR member = ?2) AND last >= ?3 AND first <= ?4
             ORDER BY member, series, first",
        )?;
        let bound = |step: u64| i64::try_from(step).unwrap_or(i64::MAX);
        let mut rows =
            statement.query(params![run, member, bound(window.from), bound(window.to)])?;
        let mut curves: BTreeMap<(String, String), Curve> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (member, name): (String, String) = (row.get(0)?, row.get(1)?);
            if !series.is_empty() && !series.contains(&name) {
                continue;
            }
            let (steps, points) = (row.get_ref(2)?, row.get_ref(3)?);
            let (Ok(steps), Ok(points)) = (steps.as_blob(), points.as_blob()) else { continue };
            let curve = curves.entry((member, name)).or_default();
            for (x, y) in unpack(steps, points) {
                if (window.from..=window.to).contains(&x) {
                    curve.x.push(x);
                    curve.y.push(y);
                }
            }
        }
        for curve in curves.values_mut() {
            *curve = std::mem::take(curve).thinned(window.points);
        }
        Ok(curves)
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
        let curves = store.read(|db| Curve::read(db, "r", None, &[], window)).expect("read");
        curves.into_values().next().unwrap_or_default()
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
