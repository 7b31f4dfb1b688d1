//! Values of one flat line of JSON, as `taper` prints them. Nothing more of JSON is understood.

/// The string at `key`; those that are looked for have no escapes.
pub(crate) fn string<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = value(line, key)?.strip_prefix('"')?;
    Some(rest.split_once('"')?.0)
}

/// The number at `key`; none if there is `null`.
pub(crate) fn number(line: &str, key: &str) -> Option<f64> {
    let rest = value(line, key)?;
    rest[..rest.find([',', '}'])?].parse().ok()
}

/// What follows the colon of `key`.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    Some(line.split_once(&format!("\"{key}\":"))?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_numbers_are_found_by_their_keys() {
        let line = r#"{"work":"a","ms":1.5,"runs":10,"launches":null,"big":2e3}"#;
        assert_eq!(string(line, "work"), Some("a"));
        assert_eq!(number(line, "ms"), Some(1.5));
        assert_eq!(number(line, "runs"), Some(10.0));
        assert_eq!(number(line, "big"), Some(2000.0));
        assert_eq!(number(line, "launches"), None);
        assert_eq!(number(line, "work"), None);
        assert_eq!(string(line, "runs"), None);
        assert_eq!(string(line, "missing"), None);
    }
}
