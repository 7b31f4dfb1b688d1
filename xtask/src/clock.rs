//! The time of day, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// A second of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Seconds since 1970-01-01, UTC.
    seconds: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        // A clock before 1970 is as good as one at 1970: the time only names files.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs() }
    }

    /// `2026-02-28`.
    pub(crate) fn date(self) -> String {
        // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days: years begin in March, 400 of them have 146,097 days.
        let days = self.seconds / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = 400 * era + year + u64::from(month <= 2);
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// `20260228-235959`.
    pub(crate) fn for_file_names(self) -> String {
        let (date, second) = (self.date().replace('-', ""), self.seconds % 86_400);
        format!("{date}-{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let date = |seconds| Moment { seconds }.date();
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_399), "2000-02-28");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(1_772_323_199), "2026-02-28");
        assert_eq!(date(1_772_323_200), "2026-03-01");
        assert_eq!(Moment { seconds: 1_772_323_199 }.for_file_names(), "20260228-235959");
    }
}
