//! What fuzzing found worth keeping: none of it makes the reader, the decoder, the pipeline or an export panic, nor
//! whoever reads the kernel's types or the command line. What is read of `/proc` has its test in `kernel/hostile.rs`.

#[path = "support/hostile.rs"]
mod hostile;

use std::fs;
use std::path::Path;

#[track_caller]
fn each_of(target: &str, least: usize, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let corpus = corpus.join(target);
    let files = fs::read_dir(&corpus).expect("the corpus is kept").flatten();
    let mut count = 0;
    for file in files {
        let bytes = fs::read(file.path()).expect("a file");
        run(&bytes);
        count += 1;
    }
    assert!(count > least, "{count} files in {}", corpus.display());
}

#[test]
fn no_file_makes_anybody_panic() {
    each_of("recording", 100, hostile::replay);
}

#[test]
fn no_record_is_changed_by_a_recording() {
    each_of("records", 100, hostile::record);
}

#[test]
fn no_types_make_anybody_panic() {
    each_of("btf", 50, hostile::types);
}

#[test]
fn no_arguments_make_anybody_panic() {
    each_of("arguments", 100, hostile::arguments);
}
