//! A whole heap in random schedules.

use std::sync::Mutex;

use super::*;
use crate::sync::model_schedules::{run_schedules, schedules};

const THREADS: usize = 3;
const ROUNDS: usize = 12;

/// Each thread allocates, and frees what any thread has allocated; one drains the depots now and then.
#[test]
fn objects_go_around() {
    run_schedules(schedules(), || {
        let model = Model::new();
        // No lock of the checker's: it adds nothing to interleave.
        let sent: Arc<Mutex<Vec<Sent>>> = Arc::default();
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (model, sent) = (model.clone(), sent.clone());
                thread::spawn(move || {
                    let cpu = Magazines::new();
                    for round in 0..ROUNDS {
                        let object = Sent(model.alloc(&cpu));
                        sent.lock().unwrap().push(object);
                        thread::yield_now();
                        if round % 2 == 1 || number == 0 {
                            let object = sent.lock().unwrap().pop();
                            if let Some(Sent(object)) = object {
                                model.free(&cpu, object);
                            }
                        }
                        if number == 1 && round % 5 == 4 {
                            model.heap.heap().drain_depots().expect("each object was freed once");
                        }
                    }
                    model.heap.heap().drain(&cpu).expect("each object was freed once");
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let cpu = Magazines::new();
        for Sent(object) in sent.lock().unwrap().drain(..) {
            model.free(&cpu, object);
        }
        model.end(&[&cpu]);
    });
}
