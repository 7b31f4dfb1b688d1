//! No request takes more than its share.

use super::*;

/// Looks at nothing until it is let, and counts who is at it.
#[derive(Clone, Default)]
struct Slow {
    shared: Arc<(AtomicUsize, AtomicUsize, AtomicBool)>,
    /// Whether it gives up where nobody waits.
    obeys: bool,
}

impl Examiner for Slow {
    fn examine(&self, _: &Config, _: bool, awaited: &dyn Fn() -> bool) -> Result<Findings, String> {
        let Slow { shared, obeys } = self;
        let (now, most, done) = &**shared;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        while !done.load(Ordering::SeqCst) && (awaited() || !obeys) {
            std::thread::sleep(Duration::from_millis(2));
        }
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(Findings::default())
    }

    fn pictures(
        &self,
        run: &std::path::Path,
        picks: &[usize],
        awaited: &dyn Fn() -> bool,
    ) -> Result<Vec<Picture>, String> {
        Here.pictures(run, picks, awaited)
    }

    fn time(&self, run: &std::path::Path, device: &str) -> Result<Vec<String>, String> {
        Here.time(run, device)
    }
}

#[tokio::test]
async fn so_many_streams_are_open_and_no_more() {
    let server = Server::here();
    let open = async || {
        let request = Request::builder().uri("/api/events").header("host", HOST);
        let request = request.body(Body::empty()).expect("a request");
        server.router.clone().oneshot(request).await.expect("infallible")
    };
    let (first, second) = (open().await, open().await);
    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(open().await.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(first);
    // The task that writes it sees that its reader is gone.
    for _ in 0..100 {
        if open().await.status() == StatusCode::OK {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("a stream that was closed still counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_no_more_helpers_than_are_allowed() {
    let slow = Slow::default();
    let examiner = Box::new(slow.clone());
    let server = Server::with(HOST, None, Parts { examiner, ..Parts::default() });
    let (now, most, done) = &*slow.shared;
    let body = || Body::from(json!({ "preset": "demo" }).to_string());
    for _ in 0..10 {
        let asked = server.send(&Method::POST, "/api/preflight", &[], body());
        // The client has no patience, and its request is dropped.
        drop(tokio::time::timeout(Duration::from_millis(50), asked).await);
    }
    assert_eq!((now.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (2, 2));
    // A list of what is known waits for nobody.
    let list = server.get("/api/devices");
    let list = tokio::time::timeout(Duration::from_secs(20), list).await.expect("an answer");
    assert_eq!(list.status, StatusCode::OK, "{}", list.text);
    done.store(true, Ordering::SeqCst);
    let shown = server.send(&Method::POST, "/api/preflight", &[], body()).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_whose_client_has_gone_gives_its_permit_back() {
    let slow = Slow { obeys: true, ..Slow::default() };
    let examiner = Box::new(slow.clone());
    let server = Server::with(HOST, None, Parts { examiner, ..Parts::default() });
    let (now, most, _) = &*slow.shared;
    for _ in 0..10 {
        let body = Body::from(json!({ "preset": "demo" }).to_string());
        let asked = server.send(&Method::POST, "/api/preflight", &[], body);
        drop(tokio::time::timeout(Duration::from_millis(50), asked).await);
    }
    let idle = async {
        while now.load(Ordering::SeqCst) > 0 || server.app.helpers.available_permits() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), idle).await.expect("nobody is at it");
    assert!(most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn sixty_bytes_are_refused_by_key_before_anything_is_built() {
    let server = Server::here();
    for (config, field) in [
        (json!({ "model": { "arch": "resnet", "blocks": [1_000_000] } }), "model.blocks[0]"),
        (json!({ "model": { "arch": "resnet", "blocks": vec![900; 8] } }), "model.blocks"),
        (json!({ "model": { "arch": "resnet", "base": 65536 } }), "model.base"),
        (
            json!({ "model": { "arch": "mlp", "hidden": [4_294_967_295u32], "blocks": [1] } }),
            "model.hidden[0]",
        ),
        (json!({ "data": { "size": 4096 } }), "wide.batch"),
        (json!({ "teacher": { "factor": 4096 } }), "teacher.factor"),
        (json!({ "seeds": (0..2000).collect::<Vec<u32>>() }), "seeds"),
    ] {
        let begun = std::time::Instant::now();
        let body = json!({ "config": config, "start": false });
        let refused = server.post("/api/runs", body.clone()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {}", refused.text);
        assert_eq!(refused.json()["field"], field, "{}", refused.text);
        let shown = server.post("/api/preflight", body).await.json();
        assert_eq!(shown["problems"][0]["field"], field, "{shown}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{field}");
    }
}
