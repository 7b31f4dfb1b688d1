//! Which kind data are of, told by the names of their files.

use std::path::Path;

use super::{images, text};
use crate::config::DataKind;

/// The kind of the data at `path`: text where its files are named as text is, else what [`images::kind_of`] says.
pub fn kind_of(path: &Path) -> DataKind {
    let of_text = text::kind_of(path).map(DataKind::Text);
    of_text.unwrap_or_else(|| DataKind::Images(images::kind_of(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ImageKind, TextKind};

    #[test]
    fn text_is_told_from_pictures_by_its_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(&file, "x").expect("written");
            file
        };
        let of = |name: &str| kind_of(&folder.path().join(name));
        let (text, asked) = (DataKind::Text(TextKind::Text), DataKind::Text(TextKind::Squad));
        let pictures = DataKind::Images(ImageKind::Folder);
        put("a.txt");
        put("dev-v2.0.json");
        put("books/one.txt");
        put("books/two.TXT");
        put("books/.hidden");
        put("squad/train-v1.1.json");
        put("squad/dev-v1.1.json");
        put("inside/wiki/wiki.train.tokens");
        put("parts/train/a.txt");
        put("parts/test/a.txt");
        put("alone/questions.json");
        put("flowers/rose/a.jpg");
        put("flowers/classes.txt");
        assert_eq!([of("a.txt"), of("books"), of("inside"), of("parts")], [text; 4]);
        assert_eq!([of("dev-v2.0.json"), of("squad"), of("alone")], [asked; 3]);
        assert_eq!([of("flowers"), of("none")], [pictures; 2]);
        assert_eq!(serde_json::to_value(text).expect("JSON"), "text");
        assert_eq!(
            serde_json::from_str::<DataKind>("\"idx\"").expect("a kind"),
            DataKind::Images(ImageKind::Idx)
        );
    }
}
