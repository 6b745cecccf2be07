//! The tour of the README, with few and small runs.

#[path = "../examples/tour/main.rs"]
#[allow(dead_code, reason = "the example has a main function of its own")]
mod tour;

use fornax::Optimizer;
use tour::{Settings, tour as run};

#[test]
fn the_tour_arrives_and_shows_what_optimizers_do() {
    let mut text = vec![];
    let tables = run(&mut text, Settings { batch: 2, runs: 1 }).unwrap();
    let text = String::from_utf8(text).unwrap();
    eprintln!("{text}");
    // Convolutions in tiles move more bytes, so fusion saves a quarter of the network's and not half.
    for (rows, (times, of)) in tables.iter().zip([(2, 1), (4, 3)]) {
        let [none, greedy, egraph] = &rows[..] else { panic!("one row for each optimizer: {rows:?}") };
        assert_eq!([none, greedy, egraph].map(|row| row.optimizer), Optimizer::ALL);
        assert_eq!([none.e_nodes, greedy.e_nodes], [0, 0]);
        assert!(egraph.e_nodes > 0, "{egraph:?}");
        for fused in [greedy, egraph] {
            assert!(2 * fused.kernels <= none.kernels && times * fused.bytes <= of * none.bytes, "{rows:?}");
        }
    }
    for part in ["attention", "stem", "traced once", "the same bits", "i64[1, 32] -> f32[1, 128]"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // The reason names the argument and the line of the call.
    assert!(text.contains("`1` was f32[2, 32] and is f32[3, 32]") && text.contains("main.rs:"), "{text}");
}
