//! The record that the Node's annotation keeps.

use spot_interrupt_handler::annotation::{read_annotation, write_annotation};
use spot_interrupt_handler::plan::id::{BootId, InstanceId, NoticeId};
use spot_interrupt_handler::plan::node::{Annotation, CordonOwner, InterruptionRecord};
use spot_interrupt_handler::plan::notice::InterruptionAction;
use spot_interrupt_handler::plan::time::WallTime;

fn records() -> Vec<InterruptionRecord> {
    let full = InterruptionRecord {
        notice_id: NoticeId::new("9f2c0000aaaa5555"),
        action: InterruptionAction::Hibernate,
        time: Some(WallTime::from_millis(1_800_000_000_007)),
        deadline: WallTime::from_millis(1_800_000_119_000),
        instance_id: Some(InstanceId::new("i-0abc")),
        boot_id: Some(BootId::new("c0ffee")),
        cordon: CordonOwner::Another,
        label_before: Some("false".to_owned()),
    };
    let bare = InterruptionRecord {
        action: InterruptionAction::Stop,
        time: None,
        instance_id: None,
        boot_id: None,
        cordon: CordonOwner::Us,
        label_before: None,
        ..full.clone()
    };
    let odd = InterruptionRecord {
        label_before: Some("\"quoted\"\n\u{1f980}".to_owned()),
        ..full.clone()
    };
    vec![full, bare, odd]
}

#[test]
fn a_record_is_read_back_as_it_was_written() {
    for record in records() {
        let text = write_annotation(&record);
        assert_eq!(read_annotation(&text), Annotation::Record(record), "{text}");
    }
}

#[test]
fn a_record_has_the_documented_form() {
    assert_eq!(
        write_annotation(&records()[0]),
        concat!(
            r#"{"v":1,"noticeId":"9f2c0000aaaa5555","action":"hibernate","time":"2027-01-15T08:00:00.007Z","#,
            r#""deadline":"2027-01-15T08:01:59Z","instanceId":"i-0abc","bootId":"c0ffee","cordonedByUs":false,"#,
            r#""labelBefore":"false"}"#
        )
    );
}

#[test]
fn what_this_version_does_not_understand_whole_is_unknown_and_kept_as_it_is() {
    let known = write_annotation(&records()[0]);
    let later = known.replace("\"v\":1", "\"v\":2");
    let mut texts = vec![
        later,
        known.replace("\"v\":1", "\"v\":\"1\""),
        known.replace("\"v\":1,", ""),
        known.replace("hibernate", "levitate"),
        known.replace("2027-01-15T08:01:59Z", "soon"),
        known.replace("\"cordonedByUs\":false", "\"cordonedByUs\":\"no\""),
        known.replace(",\"labelBefore\":\"false\"", ""),
        known.replace('}', ""),
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        "true".to_owned(),
    ];
    texts.push(format!("{known}{known}"));
    for text in texts {
        assert_ne!(text, known);
        assert_eq!(read_annotation(&text), Annotation::Unknown(text.clone()));
    }
}

#[test]
fn a_time_with_an_offset_is_understood() {
    let known = write_annotation(&records()[0]);
    let text = known.replace("2027-01-15T08:01:59Z", "2027-01-15T09:01:59+01:00");
    assert_eq!(
        read_annotation(&text),
        Annotation::Record(records()[0].clone())
    );
}
