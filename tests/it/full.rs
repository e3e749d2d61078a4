//! The whole of Guix, at full size: this story takes minutes.

use std::collections::HashSet;

use gorget::db::{EvaluationId, QueueFilter};

use crate::support::guix::Tree;
use crate::support::program::{Farm, text};

#[tokio::test]
async fn all_packages_are_queued_and_then_the_one_that_changes() {
    let guix = Tree::guix().await;
    let farm = Farm::new(None);
    farm.spec("everything", &format!("build = \"all\"\n{}", guix.as_channel("guix")));
    farm.run_once().await;
    let db = farm.db().await;
    let evaluation = farm.newest().await;
    assert_eq!((&evaluation["state"], &evaluation["partial"]), (&"complete".into(), &false.into()));
    assert_eq!(db.errors(EvaluationId(1)).await.unwrap(), []);
    let jobs = db.jobs(EvaluationId(1)).await.unwrap();
    assert!(jobs.len() > 25_000, "{}", jobs.len());
    let builds: HashSet<i64> = jobs.iter().map(|job| job.outputs).collect();
    let builds_count = farm.status().await["builds"].take();
    assert_eq!(builds_count.as_array().unwrap().len(), 1, "all of them are queued: {builds_count}");
    assert_eq!(builds_count[0]["count"], builds.len());

    let toilet = "(name \"toilet\")\n    (version \"";
    guix.edit("gnu/packages/figlet.scm", toilet, &format!("{toilet}99."));
    farm.run_once().await;
    let queue = db.queue(&QueueFilter::default(), i64::MAX).await.unwrap();
    let new = queue.iter().filter(|build| build.evaluation == EvaluationId(2));
    assert_eq!(new.map(|build| build.job.as_str()).collect::<Vec<_>>(), ["toilet.x86_64-linux"]);
    let counts = farm.status().await["builds"].take();
    let counts =
        counts.as_array().unwrap().iter().map(|count| (text(&count["state"]), count["count"].clone()));
    let expected = [("canceled".to_owned(), 1.into()), ("queued".to_owned(), builds.len().into())];
    assert_eq!(counts.collect::<Vec<_>>(), expected, "nobody wants the old one any more");
    let (diff, errors) = farm.diff(1, 2).await;
    assert_eq!(
        diff.into_iter().collect::<Vec<_>>(),
        [("changed".to_owned(), vec!["toilet.x86_64-linux".to_owned()])]
    );
    assert!(errors.is_empty(), "{errors:?}");
}
