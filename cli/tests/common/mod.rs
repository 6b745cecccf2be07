//! What the tests of the command share: running it, and writing ONNX files by hand.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a command gave.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `fornax` with these arguments.
pub fn fornax<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Ran {
    asked(arguments, b"")
}

/// Runs `fornax` with these arguments and this standard input.
pub fn asked<S: AsRef<std::ffi::OsStr>>(arguments: &[S], input: &[u8]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fornax"))
        .args(arguments)
        .env_remove("FORNAX_LOG")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // A command that reads less of it than there is closes the pipe.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let output: Output = child.wait_with_output().expect("the command ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command writes UTF-8");
    let code = output.status.code().expect("the command is not killed by a signal");
    Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A file of the example's.
pub fn example(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data").join(file);
    path.to_str().expect("a path in UTF-8").to_string()
}

/// A file in a folder, as an argument.
pub fn write(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, bytes).expect("a file can be written");
    path.to_str().expect("a path in UTF-8").to_string()
}

/// Messages of the ONNX format in the wire format of protocol buffers. Field numbers are those of `onnx.proto`.
pub mod onnx {
    /// A message in the making.
    #[derive(Clone, Default)]
    pub struct Message(pub Vec<u8>);

    impl Message {
        fn varint(&mut self, mut v: u64) {
            while v >= 0x80 {
                self.0.push(v as u8 | 0x80);
                v >>= 7;
            }
            self.0.push(v as u8);
        }
        /// A field that holds an integer.
        pub fn int(mut self, field: u64, v: i64) -> Self {
            self.varint(field << 3);
            self.varint(v as u64);
            self
        }
        /// A field that holds bytes, a string or a message.
        pub fn bytes(mut self, field: u64, v: impl AsRef<[u8]>) -> Self {
            self.varint(field << 3 | 2);
            self.varint(v.as_ref().len() as u64);
            self.0.extend(v.as_ref());
            self
        }
    }
    impl AsRef<[u8]> for Message {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    pub const FLOAT: i64 = 1;

    /// TensorProto: dims, data type, name, raw data.
    pub fn tensor(name: &str, dtype: i64, dims: &[i64], raw: &[u8]) -> Message {
        declared(name, dtype, dims).bytes(9, raw)
    }

    /// TensorProto without data.
    pub fn declared(name: &str, dtype: i64, dims: &[i64]) -> Message {
        dims.iter().fold(Message::default(), |m, &d| m.int(1, d)).int(2, dtype).bytes(8, name)
    }

    /// TensorProto whose data lie in another file.
    pub fn external(name: &str, dtype: i64, dims: &[i64], location: &str) -> Message {
        let entry = Message::default().bytes(1, "location").bytes(2, location);
        declared(name, dtype, dims).bytes(13, entry).int(14, 1)
    }

    /// ValueInfoProto of a tensor; a dim is a number or a name.
    pub fn value(name: &str, dtype: i64, dims: &[Result<i64, &str>]) -> Message {
        let shape = dims.iter().fold(Message::default(), |m, dim| {
            m.bytes(
                1,
                match dim {
                    Ok(n) => Message::default().int(1, *n),
                    Err(name) => Message::default().bytes(2, name),
                },
            )
        });
        let tensor = Message::default().int(1, dtype).bytes(2, shape);
        Message::default().bytes(1, name).bytes(2, Message::default().bytes(1, tensor))
    }

    /// NodeProto.
    pub fn node(op: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> Message {
        let m = inputs.iter().fold(Message::default(), |m, i| m.bytes(1, i));
        outputs.iter().fold(m, |m, o| m.bytes(2, o)).bytes(3, name).bytes(4, op)
    }

    /// GraphProto.
    #[derive(Clone, Default)]
    pub struct Graph {
        pub nodes: Vec<Message>,
        pub initializers: Vec<Message>,
        pub inputs: Vec<Message>,
        pub outputs: Vec<Message>,
    }

    impl Graph {
        pub fn message(&self) -> Message {
            let m = self.nodes.iter().fold(Message::default(), |m, n| m.bytes(1, n)).bytes(2, "made by hand");
            let m = self.initializers.iter().fold(m, |m, t| m.bytes(5, t));
            let m = self.inputs.iter().fold(m, |m, v| m.bytes(11, v));
            self.outputs.iter().fold(m, |m, v| m.bytes(12, v))
        }
        /// ModelProto of IR version 8 and opset 17.
        pub fn model(&self) -> Vec<u8> {
            let opset = Message::default().bytes(1, "").int(2, 17);
            Message::default().int(1, 8).bytes(7, self.message()).bytes(8, opset).0
        }
    }

    /// GraphProto whose only node is an If with such a graph as its branch, and so on.
    pub fn nested(depth: usize) -> Message {
        let innermost = Message::default().bytes(1, node("Identity", "", &["x"], &["y"]));
        // The head of a field of bytes: all that stands before them.
        let head = |m: Message, field: u64, len: usize| {
            let mut m = m;
            m.varint(field << 3 | 2);
            m.varint(len as u64);
            m
        };
        let mut heads = vec![];
        let mut len = innermost.0.len();
        for _ in 0..depth {
            let attribute = head(Message::default().bytes(1, "then_branch").int(20, 5), 6, len);
            len += attribute.0.len();
            let branching = head(node("If", "", &["x"], &["y"]), 5, len);
            len += branching.0.len();
            let graph = head(Message::default(), 1, len);
            len += graph.0.len();
            heads.extend([attribute, branching, graph]);
        }
        let mut whole = Message::default();
        heads.iter().rev().for_each(|h| whole.0.extend(&h.0));
        whole.0.extend(&innermost.0);
        whole
    }

    /// `y = op(x)` on `f32[n, 2]`.
    pub fn unary(op: &str) -> Graph {
        Graph {
            nodes: vec![node(op, "only", &["x"], &["y"])],
            inputs: vec![value("x", FLOAT, &[Err("n"), Ok(2)])],
            outputs: vec![value("y", FLOAT, &[Err("n"), Ok(2)])],
            ..Graph::default()
        }
    }

    /// `y = x + w` on `f32[n, 2]`, with this initializer `w`.
    pub fn add(w: Message) -> Graph {
        Graph { nodes: vec![node("Add", "sum", &["x", "w"], &["y"])], initializers: vec![w], ..unary("Add") }
    }
}
