use std::io::Cursor;
use std::process::Command;

use http_body_util::BodyExt;
use tempfile::TempDir;

use super::*;

/// A model folder of three files with their sums; the weights are a few chunks long.
fn model() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().expect("folder");
    let weights: Vec<u8> = (0..3 * CHUNK + 17).map(|at| (at * 7 % 251) as u8).collect();
    std::fs::write(folder.path().join("model.safetensors"), &weights).expect("written");
    std::fs::write(folder.path().join("config.json"), "{}").expect("written");
    std::fs::write(folder.path().join("README.md"), "").expect("written");
    sums::write(folder.path()).expect("written");
    (folder, weights)
}

fn free() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ZIPS))
}

fn zip_if(
    free: &Arc<Semaphore>,
    folder: PathBuf,
    items: Vec<Item>,
    stem: String,
) -> Result<Response, ApiError> {
    Ok(stream(admit(free)?, folder, items, stem))
}

fn item(folder: &Path, name: &str) -> Item {
    let items = list(folder).expect("a list");
    items.into_iter().find(|item| item.name == name).expect("the item")
}

async fn ask(folder: &Path, method: Method, asked: &[(header::HeaderName, &str)]) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in asked {
        headers.append(name, value.parse().expect("a value"));
    }
    let item = item(folder, "model.safetensors");
    let answer = send(folder.into(), item, &method, &headers).await;
    answer.unwrap_or_else(IntoResponse::into_response)
}

async fn bytes(response: Response) -> Vec<u8> {
    response.into_body().collect().await.expect("a whole body").to_bytes().into()
}

fn said<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[test]
fn only_known_names_with_a_sum_are_listed() {
    let (folder, weights) = model();
    std::fs::write(folder.path().join("secret.txt"), "x").expect("written");
    std::fs::write(folder.path().join("model.onnx"), "no sum yet").expect("written");
    sums::write(folder.path()).expect("written");
    std::fs::remove_file(folder.path().join("model.onnx")).expect("removed");
    let items = list(folder.path()).expect("a list");
    let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["README.md", "SHA256SUMS", "config.json", "model.safetensors"]);
    assert_eq!(items[3].bytes, weights.len() as u64);
    for item in &items {
        assert_eq!(item.sha256, sums::of_file(&folder.path().join(&item.name)).expect("a sum"));
    }
    for name in ["secret.txt", "../SHA256SUMS", "/etc/passwd", "", ".", "config.json/"] {
        assert!(open(folder.path(), name).is_err(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let (folder, _) = model();
    let outside = tempfile::NamedTempFile::new().expect("a file");
    let path = folder.path().join("config.json");
    std::fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink(outside.path(), &path).expect("linked");
    assert!(open(folder.path(), "config.json").is_err());
    assert!(list(folder.path()).expect("a list").iter().all(|item| item.name != "config.json"));
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("made");
    assert!(open(folder.path(), "config.json").is_err());
}

#[test]
fn ranges_are_those_of_the_rfc() {
    let some = |range| Some(Part::Some(range));
    for (text, expected) in [
        ("bytes=0-0", some(0..1)),
        ("bytes=0-9", some(0..10)),
        ("bytes=5-99", some(5..10)),
        ("bytes=5-", some(5..10)),
        ("Bytes=9-", some(9..10)),
        ("bytes=-3", some(7..10)),
        ("bytes=-99", some(0..10)),
        ("bytes=0-99999999999999999999999", some(0..10)),
        ("bytes=10-", Some(Part::Outside)),
        ("bytes=99999999999999999999999-", Some(Part::Outside)),
        ("bytes=-0", Some(Part::Outside)),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=+1-2", None),
        ("bytes=a-b", None),
        ("bits=0-1", None),
        ("0-1", None),
    ] {
        assert_eq!(ranged(text, 10), expected, "{text}");
    }
    assert_eq!(ranged("bytes=0-", 0), Some(Part::Outside));
}

#[tokio::test]
async fn a_file_comes_whole_in_parts_or_not_again() {
    let (folder, weights) = model();
    let size = weights.len();
    let whole = ask(folder.path(), Method::GET, &[]).await;
    assert_eq!(whole.status(), 200);
    let tag = said(&whole, "etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", hex(&Sha256::digest(&weights))));
    assert_eq!(said(&whole, "content-length"), size.to_string());
    assert_eq!(said(&whole, "accept-ranges"), "bytes");
    assert_eq!(said(&whole, "content-type"), "application/octet-stream");
    assert_eq!(said(&whole, "content-disposition"), "attachment; filename=\"model.safetensors\"");
    assert_eq!(bytes(whole).await, weights);

    let range = [(header::RANGE, "bytes=100-70099")];
    let part = ask(folder.path(), Method::GET, &range).await;
    assert_eq!((part.status().as_u16(), said(&part, "content-length")), (206, "70000"));
    assert_eq!(said(&part, "content-range"), format!("bytes 100-70099/{size}"));
    assert_eq!(bytes(part).await, weights[100..70_100]);
    let tail = ask(folder.path(), Method::GET, &[(header::RANGE, "bytes=-5")]).await;
    assert_eq!(bytes(tail).await, weights[size - 5..]);

    let outside = ask(folder.path(), Method::GET, &[(header::RANGE, "bytes=900000-")]).await;
    assert_eq!(outside.status(), 416);
    assert_eq!(said(&outside, "content-range"), format!("bytes */{size}"));
    assert_eq!(said(&outside, "content-type"), "application/json");
    let body: serde_json::Value = serde_json::from_slice(&bytes(outside).await).expect("JSON");
    assert_eq!(body["code"], "bad_range");

    let head = ask(folder.path(), Method::HEAD, &range).await;
    assert_eq!(
        (head.status().as_u16(), said(&head, "content-length")),
        (200, size.to_string().as_str())
    );
    assert!(bytes(head).await.is_empty());

    let weak = format!("\"other\", W/{tag}");
    for same in [tag.as_str(), weak.as_str(), "*"] {
        let known = ask(folder.path(), Method::GET, &[(header::IF_NONE_MATCH, same)]).await;
        assert_eq!((known.status().as_u16(), said(&known, "etag")), (304, tag.as_str()), "{same}");
        assert!(bytes(known).await.is_empty());
    }
    for (name, value, status) in [
        (header::IF_NONE_MATCH, "\"other\"", 206),
        (header::IF_MATCH, tag.as_str(), 206),
        (header::IF_MATCH, "\"other\"", 412),
        (header::IF_RANGE, tag.as_str(), 206),
        (header::IF_RANGE, weak.as_str(), 200),
        (header::IF_RANGE, "\"other\"", 200),
        (header::IF_RANGE, "Sat, 29 Oct 1994 19:43:31 GMT", 200),
    ] {
        let answer =
            ask(folder.path(), Method::GET, &[range[0].clone(), (name.clone(), value)]).await;
        assert_eq!(answer.status(), status, "{name}: {value}");
    }

    let gone = item(folder.path(), "config.json");
    std::fs::remove_file(folder.path().join("config.json")).expect("removed");
    let answer = send(folder.path().into(), gone, &Method::GET, &HeaderMap::new()).await;
    assert_eq!(answer.expect_err("gone").into_response().status(), 404);
}

#[test]
fn names_of_downloads_are_harmless() {
    for (name, header) in [
        ("a-1.zip", "attachment; filename=\"a-1.zip\""),
        (
            "a\"\r\nb/c.zip",
            "attachment; filename=\"a___b_c.zip\"; filename*=UTF-8''a%22%0D%0Ab%2Fc.zip",
        ),
        ("ü.zip", "attachment; filename=\"_.zip\"; filename*=UTF-8''%C3%BC.zip"),
    ] {
        assert_eq!(attachment(name), header);
    }
}

#[tokio::test]
async fn a_zip_is_read_by_others() {
    let (folder, weights) = model();
    let items = list(folder.path()).expect("a list");
    let zip = async || {
        let answer = zip_if(&free(), folder.path().into(), items.clone(), "model".into());
        let answer = answer.expect("free");
        assert_eq!(said(&answer, "content-type"), "application/zip");
        assert_eq!(said(&answer, "content-disposition"), "attachment; filename=\"model.zip\"");
        bytes(answer).await
    };
    let archive = zip().await;
    assert_eq!(zip().await, archive, "the same files are the same archive");
    let mut read = zip::ZipArchive::new(Cursor::new(&archive)).expect("an archive");
    assert_eq!(read.len(), 4);
    for item in &items {
        let mut file = read.by_name(&format!("model/{}", item.name)).expect("the entry");
        assert_eq!(file.compression(), CompressionMethod::Stored);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("read");
        assert_eq!(hex(&Sha256::digest(&bytes)), item.sha256, "{}", item.name);
        assert!(item.name != "model.safetensors" || bytes == weights);
    }
    // Where they are there, two readers that are not ours.
    let path = folder.path().join("out.zip");
    std::fs::write(&path, &archive).expect("written");
    for (program, arguments) in
        [("python3", ["-m", "zipfile", "-t"].as_slice()), ("unzip", &["-tq"])]
    {
        if let Ok(output) = Command::new(program).args(arguments).arg(&path).output() {
            let text =
                String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !text.contains("corrupted"), "{program}: {text}");
        }
    }
}

#[tokio::test]
async fn a_file_that_changed_breaks_the_download_off() {
    let (folder, mut weights) = model();
    let items = list(folder.path()).expect("a list");
    weights[5] ^= 1;
    std::fs::write(folder.path().join("model.safetensors"), &weights).expect("written");
    let answer = zip_if(&free(), folder.path().into(), items, "model".into()).expect("free");
    let mut body = answer.into_body();
    let mut sent = Vec::new();
    let error = loop {
        match body.frame().await.expect("an error before the end") {
            Ok(frame) => sent.extend_from_slice(frame.data_ref().expect("data")),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("model.safetensors is not the file"), "{error}");
    assert!(
        zip::ZipArchive::new(Cursor::new(sent)).is_err(),
        "half an archive must not look whole"
    );
}

#[tokio::test]
async fn a_file_that_changed_is_not_sent() {
    let (folder, mut weights) = model();
    weights[5] ^= 1;
    std::fs::write(folder.path().join("model.safetensors"), &weights).expect("written");
    let items = list(folder.path()).expect("a list");
    let zip = super::zip(folder.path().to_path_buf(), items, "model".into()).await;
    let zip = zip.expect_err("damaged").into_response();
    assert_eq!(zip.status(), 500);
    let told = String::from_utf8(bytes(zip).await).expect("text");
    assert!(told.contains("model.safetensors is not the file"), "{told}");
    let range = [(header::RANGE, "bytes=100-200")];
    for headers in [&[][..], &range] {
        let answer = ask(folder.path(), Method::GET, headers).await;
        assert_eq!(answer.status(), 500);
        let told = String::from_utf8(bytes(answer).await).expect("text");
        assert!(told.contains("model.safetensors is not the file"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_goes_away_or_waits_holds_nothing_for_long() {
    let (folder, _) = model();
    std::fs::write(folder.path().join("model.safetensors"), vec![0; 64 << 20]).expect("written");
    sums::write(folder.path()).expect("written");
    let items = list(folder.path()).expect("a list");
    let free = free();
    let answer = zip_if(&free, folder.path().into(), items.clone(), "model".into()).expect("free");
    let mut body = answer.into_body();
    let first = body.frame().await.expect("a frame").expect("data");
    assert!(first.data_ref().is_some_and(|data| data.len() < 2 * CHUNK));
    // It does not run ahead of the client: it still waits.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(free.available_permits(), ZIPS - 1);
    drop(body);
    let ended = async {
        while free.available_permits() < ZIPS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), ended).await.expect("the thread ends");

    let kept: Vec<Response> = (0..ZIPS)
        .map(|_| zip_if(&free, folder.path().into(), items.clone(), "model".into()).expect("free"))
        .collect();
    let refused =
        zip_if(&free, folder.path().into(), items, "model".into()).expect_err("none is free");
    assert_eq!(refused.into_response().status(), 503);
    drop(kept);
}
