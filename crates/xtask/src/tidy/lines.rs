//! Files that are too long to hold one idea.

const MOST: usize = 800;

pub(super) fn too_many(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MOST).then(|| {
        format!("{name}: {lines} lines, {MOST} at most: move its second idea to another file")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_hundred_lines_pass_and_one_more_does_not() {
        assert_eq!(too_many("a.rs", &"x\n".repeat(800)), None);
        assert!(too_many("a.rs", &"x\n".repeat(801)).is_some());
    }
}
