use super::*;

#[test]
fn the_grave_comes_first_and_in_order_and_what_was_told_often_makes_room() {
    let mut choice = Choice::default();
    for number in 0..5 {
        choice.add(Interest::Routine, ("connection-log", "connected"), format!("connect {number}"));
    }
    choice.add(Interest::Grave, ("alarms", "deadline_passed"), "alarm".into());
    choice.add(Interest::Tricky, ("connection-log", "taken_over"), "taken over".into());
    let (lines, left_out) = choice.choose(3);
    assert_eq!(lines, ["connect 0", "alarm", "taken over"]);
    assert_eq!(left_out, 4);
    // Eight alarms later, something else has its turn.
    for round in 0..8 {
        for number in 0..3 {
            choice.add(Interest::Grave, ("alarms", "deadline_passed"), format!("alarm {round}.{number}"));
        }
        choice.choose(3);
    }
    choice.add(Interest::Grave, ("alarms", "deadline_passed"), "alarm".into());
    choice.add(Interest::Notable, ("status", "update"), "update".into());
    assert_eq!(choice.choose(1).0, ["update"]);
    assert_eq!(choice.choose(9), (Vec::new(), 0));
}
