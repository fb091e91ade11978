//! Answers that say something.

use spot_interrupt_handler::plan::action::MachineIdentity;
use spot_interrupt_handler::plan::id::InstanceId;
use spot_interrupt_handler::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use spot_interrupt_handler::plan::time::WallTime;
use spot_interrupt_handler::ports::{Metadata, MetadataError};

use super::{NOTICE, PUT, asked, imds, server};
use crate::scripted::{Reply, json, typed};

/// 2027-01-15T08:00:00Z.
const NOON: i64 = 1_800_000_000_000;

fn known(action: InterruptionAction) -> AnnouncedAction {
    AnnouncedAction::Known(action)
}

/// The notice that this body is read as.
async fn announced(body: &str) -> Announcement {
    let server = server([json(200, body).with("Date", "Fri, 15 Jan 2027 08:00:00 GMT")]).await;
    let notice = imds(&server).notice().await;
    notice.expect("an answer").expect("a notice")
}

#[tokio::test]
async fn a_404_means_that_there_is_no_notice() {
    let server = server([typed(404, "text/html", "<html>404 - Not Found</html>")]).await;
    assert_eq!(imds(&server).notice().await.expect("an answer"), None);
    assert_eq!(asked(&server), [PUT, NOTICE]);
}

#[tokio::test]
async fn a_poll_sends_nothing_but_the_tokens_life_and_the_token() {
    let server = server([typed(404, "text/html", "")]).await;
    assert_eq!(imds(&server).notice().await.expect("an answer"), None);
    let host = server.url.trim_start_matches("http://");
    let sent: Vec<_> = server
        .received()
        .into_iter()
        .map(|mut request| {
            request.headers.sort();
            (request.headers, request.body)
        })
        .collect();
    let headers = |name: &str, value: &str| {
        [("host", host), (name, value)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    };
    assert_eq!(
        sent,
        [
            (
                headers("x-aws-ec2-metadata-token-ttl-seconds", "21600"),
                String::new()
            ),
            (
                headers("x-aws-ec2-metadata-token", "token-1"),
                String::new()
            ),
        ]
    );
}

#[tokio::test]
async fn a_notice_comes_with_its_action_its_time_and_the_servers_date() {
    for (name, action) in [
        ("terminate", InterruptionAction::Terminate),
        ("stop", InterruptionAction::Stop),
        ("hibernate", InterruptionAction::Hibernate),
    ] {
        let body = format!(r#"{{"action":"{name}","time":"2027-01-15T08:02:00Z"}}"#);
        let expected = Announcement {
            action: known(action),
            time: Some(WallTime::from_millis(NOON + 120_000)),
            server_date: Some(WallTime::from_millis(NOON)),
        };
        assert_eq!(announced(&body).await, expected);
    }
}

#[tokio::test]
async fn without_a_readable_date_header_the_servers_time_is_not_known() {
    for date in [None, Some("yesterday"), Some("")] {
        let reply = json(200, r#"{"action":"stop","time":"2027-01-15T08:02:00Z"}"#);
        let reply = match date {
            Some(date) => reply.with("Date", date),
            None => reply,
        };
        let server = server([reply]).await;
        let notice = imds(&server)
            .notice()
            .await
            .expect("an answer")
            .expect("a notice");
        assert_eq!(notice.server_date, None, "{date:?}");
    }
}

#[tokio::test]
async fn an_unknown_action_is_a_notice_all_the_same() {
    let notice = announced(r#"{"action":"vanish","time":"2027-01-15T08:02:00Z"}"#).await;
    assert_eq!(notice.action, AnnouncedAction::Unknown("vanish".to_owned()));
}

#[tokio::test]
async fn a_time_that_is_missing_or_unreadable_does_not_hide_the_notice() {
    for body in [
        r#"{"action":"terminate"}"#,
        r#"{"action":"terminate","time":null}"#,
        r#"{"action":"terminate","time":1800000000}"#,
        r#"{"action":"terminate","time":"soon"}"#,
        r#"{"action":"terminate","time":"2027-13-15T08:02:00Z"}"#,
        r#"{"action":"terminate","time":"2027-01-15T08:02:00"}"#,
        r#"{"action":"terminate","time":"99999999-01-15T08:02:00Z"}"#,
        r#"{"action":"terminate","time":""}"#,
    ] {
        let notice = announced(body).await;
        assert_eq!(notice.time, None, "{body}");
        assert_eq!(notice.action, known(InterruptionAction::Terminate));
    }
}

#[tokio::test]
async fn times_far_away_are_told_as_they_are() {
    for (time, millis) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2027-01-15T07:00:00Z", NOON - 3_600_000),
        ("2126-01-15T08:00:00Z", 4_924_137_600_000),
        ("9999-12-30T00:00:00Z", 253_402_128_000_000),
        ("-009999-01-02T02:00:00Z", -377_705_023_200_000),
        ("2027-01-15T09:02:00+01:00", NOON + 120_000),
    ] {
        let body = format!(r#"{{"action":"terminate","time":"{time}"}}"#);
        let expected = Some(WallTime::from_millis(millis));
        assert_eq!(announced(&body).await.time, expected, "{time}");
    }
}

#[tokio::test]
async fn fields_that_are_new_do_not_disturb() {
    let notice =
        announced(r#"{"reason":{"code":7},"time":"2027-01-15T08:02:00Z","action":"stop"}"#).await;
    assert_eq!(notice.action, known(InterruptionAction::Stop));
}

const DOCUMENT: &str = r#"{
  "accountId" : "111122223333",
  "availabilityZone" : "eu-west-1a",
  "instanceId" : "i-0123456789abcdef0",
  "instanceType" : "m6i.large",
  "billingProducts" : null
}"#;

#[tokio::test]
async fn the_machine_is_known_by_its_identity_document_and_life_cycle() {
    let replies = [
        typed(200, "text/plain", DOCUMENT),
        typed(200, "text/plain", "spot\n"),
    ];
    let server = server(replies).await;
    let expected = MachineIdentity {
        instance_id: InstanceId::new("i-0123456789abcdef0"),
        instance_type: Some("m6i.large".to_owned()),
        zone: Some("eu-west-1a".to_owned()),
        life_cycle: Some("spot".to_owned()),
    };
    assert_eq!(
        imds(&server).identity().await.expect("an identity"),
        expected
    );
    assert_eq!(
        asked(&server)[1..],
        [
            "GET /latest/dynamic/instance-identity/document",
            "GET /latest/meta-data/instance-life-cycle"
        ]
    );
}

#[tokio::test]
async fn an_identity_is_no_worse_for_a_life_cycle_that_cannot_be_had() {
    for reply in [
        typed(404, "text/html", ""),
        typed(403, "text/html", ""),
        typed(500, "text/html", "oops"),
        typed(200, "text/plain", " \n"),
        Reply::Reset(String::new()),
    ] {
        let server = server([typed(200, "text/plain", DOCUMENT), reply]).await;
        let identity = imds(&server).identity().await.expect("an identity");
        assert_eq!(identity.life_cycle, None);
    }
}

#[tokio::test]
async fn of_a_life_cycle_200_bytes_are_kept_and_no_control_characters() {
    let odd = "\u{7}on-demand".repeat(100);
    let replies = [
        typed(200, "text/plain", DOCUMENT),
        typed(200, "text/plain", odd),
    ];
    let identity = imds(&server(replies).await).identity().await;
    let life_cycle = identity.expect("an identity").life_cycle.expect("one");
    assert_eq!(life_cycle.len(), 200);
    assert!(!life_cycle.contains(char::is_control), "{life_cycle:?}");
}

#[tokio::test]
async fn an_instance_id_alone_is_an_identity() {
    let replies = [
        typed(200, "text/plain", r#"{"instanceId":"i-0abc"}"#),
        typed(200, "text/plain", "on-demand"),
    ];
    let expected = MachineIdentity {
        instance_id: InstanceId::new("i-0abc"),
        instance_type: None,
        zone: None,
        life_cycle: Some("on-demand".to_owned()),
    };
    let server = server(replies).await;
    assert_eq!(
        imds(&server).identity().await.expect("an identity"),
        expected
    );
}

#[tokio::test]
async fn an_identity_that_is_refused_is_told_with_the_status() {
    for (status, expected) in [
        (
            403,
            "the metadata service refuses: it is disabled for this instance (HTTP 403)",
        ),
        (404, "the metadata service answered HTTP 404: oops"),
        (503, "the metadata service answered HTTP 503: oops"),
    ] {
        let server = server([typed(status, "text/html", "oops")]).await;
        let error = imds(&server).identity().await.expect_err("no identity");
        assert_eq!(error.to_string(), expected);
        assert_eq!(asked(&server).len(), 2, "nothing else is asked");
    }
}

#[tokio::test]
async fn a_document_without_an_instance_id_is_none() {
    for body in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"<html></html>",
        b"{\"instanceId\":7}",
        b"{\"instanceId\":\"i-0",
        b"{\"instanceId\":\"i-0\xff\"}",
    ] {
        let server = server([typed(200, "text/plain", body)]).await;
        let error = imds(&server).identity().await.expect_err("no identity");
        assert!(
            matches!(
                &error,
                MetadataError::Body {
                    what: "an identity document",
                    ..
                }
            ),
            "{error:?}"
        );
    }
}
