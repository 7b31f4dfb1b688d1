//! Values of one line of JSON, as `taper` prints them: strings and numbers of an object, and the objects of a list. Nothing more of JSON is understood.

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

/// The objects in the list at `key`, each as its text; what they hold may hold objects as well.
pub(crate) fn objects<'a>(text: &'a str, key: &str) -> Option<Vec<&'a str>> {
    let list = value(text, key)?.strip_prefix('[')?;
    let (mut found, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in list.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' => {
                if depth == 0 {
                    begin = at;
                }
                depth += 1;
            }
            ']' if depth == 0 => return Some(found),
            '}' | ']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    found.push(&list[begin..=at]);
                }
            }
            _ => {}
        }
    }
    None
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

    #[test]
    fn the_objects_of_a_list_are_found_whatever_they_hold() {
        let objects = |text| objects(text, "all");
        assert_eq!(objects(r#"{"all":[]}"#), Some(Vec::new()));
        let text = r#"{"all":[{"a":{"b":[1,{}]}}, {"c":"} ] \" { "}],"more":[{}]}"#;
        assert_eq!(objects(text), Some(vec![r#"{"a":{"b":[1,{}]}}"#, r#"{"c":"} ] \" { "}"#]));
        assert_eq!(objects(r#"{"all":[{"a":1}"#), None);
        assert_eq!(objects(r#"{"all":[}"#), None);
        assert_eq!(objects(r#"{"other":[]}"#), None);
    }
}
