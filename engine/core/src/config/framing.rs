//! What is done to a picture before a network: a network that was trained elsewhere brings it along, and a configuration may write it.

use super::{Images, Interpolation};

/// What is done to a picture before a network that is trained already, as far as its file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Framing {
    /// Height and width of the input in pixels.
    pub size: Option<u32>,
    /// How a picture is resized.
    pub interpolation: Option<Interpolation>,
    /// Share of the shorter side that the centre crop keeps.
    pub crop: Option<f64>,
    /// Mean of each channel, of pixels in 0..1.
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel.
    pub std: Option<Vec<f64>>,
}

/// A key of `[data]` that says otherwise than a trained network's own folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The key.
    pub key: &'static str,
    /// Its value, as TOML.
    pub written: String,
    /// What the network was trained with, as TOML.
    pub trained: String,
}

/// Reals that differ by no more are the same: files are written by hand as well.
const SAME: f64 = 1e-6;

fn near(a: &f64, b: &f64) -> bool {
    (a - b).abs() <= SAME
}

fn all_near(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b))
}

/// Writes what is `trained` where nothing is written; otherwise the two must be the `same`.
fn settle<T: Clone>(
    key: &'static str,
    written: &mut Option<T>,
    trained: &Option<T>,
    same: impl Fn(&T, &T) -> bool,
    show: impl Fn(&T) -> String,
    taken: &mut Vec<String>,
) -> Result<(), Disagreement> {
    let Some(trained) = trained else { return Ok(()) };
    match written {
        None => {
            taken.push(format!("{key} = {}", show(trained)));
            *written = Some(trained.clone());
            Ok(())
        }
        Some(value) if same(value, trained) => Ok(()),
        Some(value) => Err(Disagreement { key, written: show(value), trained: show(trained) }),
    }
}

impl Interpolation {
    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Interpolation::Area => "area",
            Interpolation::Bilinear => "bilinear",
        }
    }
}

impl Images {
    /// How images are resized: as is written, else bilinear.
    pub fn resizing(&self) -> Interpolation {
        self.interpolation.unwrap_or_default()
    }

    /// Share of the shorter side that the centre crop keeps: what is written, else 1.
    pub fn kept(&self) -> f64 {
        self.crop.unwrap_or(1.0)
    }

    /// Adds what a trained network says of its pictures where the configuration says nothing; returns the lines that were added.
    ///
    /// # Errors
    /// A key that says otherwise.
    pub fn take_over(&mut self, trained: &Framing) -> Result<Vec<String>, Disagreement> {
        let Framing { size, interpolation, crop, mean, std } = trained;
        let mut taken = Vec::new();
        let list = |list: &Vec<f64>| format!("{list:?}");
        let same = |a: &Vec<f64>, b: &Vec<f64>| all_near(a, b);
        settle("data.size", &mut self.size, size, u32::eq, u32::to_string, &mut taken)?;
        let name = |how: &Interpolation| format!("{:?}", how.name());
        let interpolated = &mut self.interpolation;
        settle("data.interpolation", interpolated, interpolation, PartialEq::eq, name, &mut taken)?;
        settle("data.crop", &mut self.crop, crop, near, f64::to_string, &mut taken)?;
        settle("data.mean", &mut self.mean, mean, same, list, &mut taken)?;
        settle("data.std", &mut self.std, std, same, list, &mut taken)?;
        Ok(taken)
    }

    /// Writes the defaults of what a trained network could still have said, so that a written configuration says everything.
    pub fn frame(&mut self) {
        self.interpolation = Some(self.resizing());
        self.crop = Some(self.kept());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained() -> Framing {
        Framing {
            size: Some(8),
            interpolation: Some(Interpolation::Area),
            crop: Some(0.875),
            mean: Some(vec![0.485, 0.456, 0.406]),
            std: Some(vec![0.229, 0.224, 0.225]),
        }
    }

    #[test]
    fn what_is_not_written_is_taken_over_and_what_is_must_agree() {
        let mut data = Images::default();
        let lines = data.take_over(&trained()).expect("nothing is written");
        assert_eq!(
            lines,
            [
                "data.size = 8",
                "data.interpolation = \"area\"",
                "data.crop = 0.875",
                "data.mean = [0.485, 0.456, 0.406]",
                "data.std = [0.229, 0.224, 0.225]"
            ]
        );
        assert_eq!(
            (data.size, data.resizing(), data.kept()),
            (Some(8), Interpolation::Area, 0.875)
        );
        assert_eq!(data.take_over(&trained()), Ok(Vec::new()));
        assert_eq!(data.take_over(&Framing::default()), Ok(Vec::new()));

        // A value that was rounded is the same, any other is not.
        data.mean = Some(vec![0.4850005, 0.456, 0.406]);
        assert_eq!(data.take_over(&trained()), Ok(Vec::new()));
        for (key, change) in [
            ("data.size", (|data| data.size = Some(9)) as fn(&mut Images)),
            ("data.interpolation", |data| data.interpolation = Some(Interpolation::Bilinear)),
            ("data.crop", |data| data.crop = Some(1.0)),
            ("data.mean", |data| data.mean = Some(vec![0.48501, 0.456, 0.406])),
            ("data.mean", |data| data.mean = Some(vec![f64::NAN; 3])),
            ("data.std", |data| data.std = Some(vec![0.229])),
        ] {
            let mut other = data.clone();
            change(&mut other);
            assert_eq!(other.take_over(&trained()).expect_err(key).key, key);
        }
    }

    #[test]
    fn defaults_are_written_where_no_network_says_anything() {
        let mut data = Images { crop: Some(0.5), ..Images::default() };
        data.frame();
        assert_eq!((data.interpolation, data.crop), (Some(Interpolation::Bilinear), Some(0.5)));
        assert_eq!((data.size, data.mean), (None, None));
    }
}
