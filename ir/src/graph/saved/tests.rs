//! Tests of the binary form.

use super::super::ops::{OpClass, OpRow, TABLE};
use super::super::text::tests::everything;
use super::super::{Builder, Graph, OpKind, TensorType, difference, text};
use super::attributes::Value;
use super::decode::decode_as;
use super::upgrade::{Known, PRESENT, RawNode, Upgrade};
use super::*;
use crate::dim::Dim;
use crate::dtype::DType;
use crate::literal::Literal;
use crate::scalar::UnaryOp;
use bytes::Bytes;
use prost::Message;

fn saved(g: &Graph) -> Vec<u8> {
    let mut out = vec![];
    write(g, &Weights::Inside, &mut out).unwrap();
    out
}

fn no_file(file: &Beside) -> Result<decode::Finder<'static>, String> {
    Err(format!("no file {}", file.path))
}

fn loaded(bytes: &[u8]) -> Result<Graph> {
    decode(Bytes::copy_from_slice(bytes), &mut no_file)
}

/// The file with a changed message and a checksum that holds.
fn forged(bytes: &[u8], change: impl FnOnce(&mut proto::SavedGraph)) -> Vec<u8> {
    let size = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) as usize;
    let mut message = proto::SavedGraph::decode(&bytes[HEADER..HEADER + size]).unwrap();
    change(&mut message);
    let data = &bytes[(HEADER + size).next_multiple_of(ALIGNMENT)..bytes.len() - TRAILER];
    assemble(&message.encode_to_vec(), data)
}

fn assemble(message: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(FORMAT_VERSION.to_le_bytes());
    out.extend([0; 4]);
    out.extend((message.len() as u64).to_le_bytes());
    out.extend((data.len() as u64).to_le_bytes());
    out.resize(HEADER, 0);
    out.extend(message);
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out.extend(data);
    sealed(out)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(Checksum::of(&bytes).to_le_bytes());
    bytes
}

#[track_caller]
fn assert_same(a: &Graph, b: &Graph) {
    assert_eq!(difference(a, b, true), None);
    for (x, y) in a.nodes.iter().zip(&b.nodes) {
        assert_eq!(x.sym, y.sym);
    }
    a.regions.iter().zip(&b.regions).for_each(|(x, y)| assert_same(x, y));
}

struct Random(u64);
impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

#[test]
fn every_operator_is_read_back_as_written() {
    let g = everything();
    let bytes = saved(&g);
    let back = loaded(&bytes).unwrap();
    assert_same(&g, &back);
    assert_eq!(text::print(&back, true), text::print(&g, true));
    assert_eq!(saved(&back), bytes, "the same graph gives the same bytes");
}

#[test]
fn weights_are_aligned_and_shared_with_the_file() {
    let bytes = Bytes::from(saved(&everything()));
    let back = decode(bytes.clone(), &mut no_file).unwrap();
    let (from, to) = (bytes.as_ptr().addr(), bytes.as_ptr().addr() + bytes.len());
    for c in &back.consts {
        let at = c.literal.bytes().as_ptr().addr();
        assert!(c.literal.is_empty() || (from..to).contains(&at) && cfg!(target_endian = "little"));
        assert!(c.literal.is_empty() || (at - from).is_multiple_of(ALIGNMENT));
    }
}

#[test]
fn weights_in_another_file_are_found_by_name() {
    let g = everything();
    let weights = weights_beside(&g);
    let mut names: Vec<_> = weights.iter().map(|(n, _)| n.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), weights.len(), "each name is used once");
    assert!(names.len() > g.consts.len(), "the regions' are among them");
    assert!(names.contains(&"w".to_string()));
    let file = Beside { path: "w.safetensors".into(), size: 7, checksum: 9 };
    let mut bytes = vec![];
    write(&g, &Weights::Beside(file.clone()), &mut bytes).unwrap();
    assert!(bytes.len() < saved(&g).len());
    let back = decode(Bytes::from(bytes.clone()), &mut |named| {
        assert_eq!(*named, file);
        let find = |key: &str| weights.iter().find(|(n, _)| n == key).map(|(_, l)| l.clone());
        Ok(Box::new(move |key| find(key).ok_or_else(|| format!("no tensor '{key}'"))))
    });
    assert_same(&g, &back.unwrap());
    let error = |find: fn(&str) -> Result<Literal, String>| {
        let got = decode(Bytes::from(bytes.clone()), &mut |_| Ok(Box::new(find)));
        got.unwrap_err().to_string()
    };
    assert!(error(|key| Err(format!("no tensor '{key}'"))).contains("weights in 'w.safetensors': no tensor"));
    assert!(error(|_| Ok(Literal::scalar(1u16))).contains("is u16[], not f32["));
    assert!(loaded(&bytes).unwrap_err().to_string().contains("no file w.safetensors"));
}

#[test]
fn damaged_files_are_errors() {
    let whole = saved(&everything());
    for n in (0..whole.len()).step_by(3) {
        assert!(loaded(&whole[..n]).is_err(), "{n} bytes");
    }
    let mut random = Random(1);
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        let (at, bit) = (random.below(bytes.len()), random.below(8));
        bytes[at] ^= 1 << bit;
        assert!(loaded(&bytes).is_err(), "bit {bit} of byte {at}");
    }
    assert!(matches!(loaded(&[&whole[..], b"x"].concat()), Err(SavedError::Size { .. })));
    for huge in [u64::MAX, 1 << 62, (MAX_MESSAGE + 1) as u64] {
        for at in [16, 24] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&huge.to_le_bytes());
            assert!(loaded(&bytes).is_err());
        }
    }
}

/// Whoever forges a checksum gets errors or another valid graph, never a panic.
#[test]
fn forged_files_are_errors_or_graphs() {
    let whole = saved(&everything());
    let size = u64::from_le_bytes(whole[16..24].try_into().unwrap()) as usize;
    let mut random = Random(2);
    let mut refused = 0;
    for _ in 0..2000 {
        let mut bytes = whole[..whole.len() - TRAILER].to_vec();
        for _ in 0..=random.below(3) {
            let at = HEADER + random.below(size);
            bytes[at] = match random.below(3) {
                0 => random.below(256) as u8,
                1 => bytes[at].wrapping_add(1),
                _ => bytes[at] ^ 0x80,
            };
        }
        refused += usize::from(loaded(&sealed(bytes)).is_err());
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn errors_say_what_is_wrong() {
    type Change = fn(&mut proto::SavedGraph);
    let cases: &[(Change, &str)] = &[
        (|m| m.operators[0].version = 9, "operator 'input' has version 9, and versions up to 1 are known"),
        (|m| m.operators[0].version = 0, "which no upgrade leads on from"),
        (
            |m| m.operators[0].name = "warp".into(),
            "operator 'warp' (version 1) is unknown; the file was written by fornax",
        ),
        (|m| m.graphs.clear(), "there is no graph"),
        (|m| m.graphs.push(Default::default()), ": it is no region of an earlier graph"),
        (|m| m.graphs[0].regions = vec![0], "graph 0: graph 0 cannot be its region"),
        (|m| m.graphs[0].regions[0] = 99, "graph 99 cannot be its region"),
        (|m| m.graphs[1].regions[0] = m.graphs[1].regions[1], "graph 1: graph 3 cannot be its region"),
        (|m| drop(m.graphs[1].inputs.pop()), "region r0"),
        (|m| m.graphs[0].nodes[3].operator = 99, "graph 0, node 3: operator 99 is not in the table"),
        (|m| m.graphs[0].nodes[9].operands = vec![9], "operand 9 does not come before it"),
        (|m| m.graphs[0].nodes[0].shape[0] = 999, "extent 999 is not there"),
        (|m| m.graphs[0].nodes[0].dtype = 99, "dtype 99 is unknown"),
        (|m| m.graphs[0].nodes[0].attributes.clear(), "operator 'input': its attribute 'index' is missing"),
        (|m| m.graphs[0].nodes[0].location = 99, "location loc99 does not exist"),
        (|m| m.graphs[0].outputs[0].node = 9999, "node %9999 does not exist"),
        (|m| m.graphs[0].inputs[0].node = 9999, "input 0: node 9999 is not there"),
        (|m| m.graphs[0].constants[0].offset = u64::MAX, "are outside the data"),
        (|m| m.graphs[0].constants[0].shape = vec![u64::MAX, 2], "more elements than memory"),
        (|m| m.graphs[0].symbols[0].name = 99, "graph 0, symbol 0: symbol 99 is not there"),
        (|m| m.extents[0].terms[0].factors[0].args.clear(), "extent 0: a factor SYMBOL with 0 parts"),
        (|m| m.graphs[0].symbols.reverse(), "the graph is not valid: the symbols are"),
    ];
    let chain: Change = |m| {
        let first = m.graphs.len() as u32;
        m.graphs[0].regions.push(first);
        for k in 1..=40 {
            m.graphs.push(proto::Graph { regions: vec![first + k], ..Default::default() });
        }
        m.graphs.push(Default::default());
    };
    let whole = saved(&everything());
    for (change, want) in cases.iter().chain([&(chain, "regions are nested more than 32 deep")]) {
        let got = match loaded(&forged(&whole, change)) {
            Ok(_) => "no error".to_string(),
            Err(e) => e.to_string(),
        };
        assert!(got.contains(want), "{got}\nwanted: {want}");
    }
    let extra = |m: &mut proto::SavedGraph| {
        let value = Some(proto::attribute::Value::Int(0));
        m.graphs[0].nodes[0].attributes.push(proto::Attribute { name: "extra".into(), value });
    };
    assert!(loaded(&forged(&whole, extra)).unwrap_err().to_string().contains("no attribute 'extra'"));
    let mut newer = whole.clone();
    newer[8] = 2;
    assert_eq!(loaded(&newer).unwrap_err(), SavedError::Format { found: 2, known: 1 });
    assert!(loaded(b"").unwrap_err().to_string().contains("this is empty"));
    assert!(loaded(b"graph \"g\" {}").unwrap_err().to_string().contains("not 67 72"));
}

/// Each extent doubles the one before, by a floor division each: the limits of dims stop it early.
#[test]
fn extents_are_bounded_in_depth_and_size() {
    let factor = |kind: proto::factor::Kind, args: Vec<u32>| proto::Factor { kind: kind.into(), args };
    let whole = saved(&everything());
    let deep = |kind, width: usize| {
        forged(&whole, |m| {
            for _ in 0..100_000u32 {
                let last = m.extents.len() as u32 - 1;
                let mut args = vec![last; width];
                args[width - 1] = 0;
                let terms = vec![proto::Term { coefficient: 3, factors: vec![factor(kind, args)] }];
                m.extents.push(proto::Extent { constant: 1, terms });
            }
        })
    };
    for (kind, width) in [(proto::factor::Kind::FloorDiv, 2), (proto::factor::Kind::Product, 3)] {
        let got = loaded(&deep(kind, width)).unwrap_err().to_string();
        assert!(got.contains("too deep or too large"), "{got}");
    }
}

#[test]
fn older_operators_are_upgraded() {
    fn in_minutes(n: &mut RawNode) -> Result<(), String> {
        n.attributes.0.push(("function".into(), Value::Text("abs".into())));
        Ok(())
    }
    fn renamed(n: &mut RawNode) -> Result<(), String> {
        match n.attributes.take("function")? {
            Value::Text(t) if t == "abs" => {
                n.attributes.0.push(("function".into(), Value::Text("neg".into())))
            }
            other => return Err(format!("unexpected {other:?}")),
        }
        Ok(())
    }
    static UPGRADES: &[Upgrade] = &[
        Upgrade { from: ("old", 1), to: ("old", 2), apply: in_minutes },
        Upgrade { from: ("old", 2), to: ("unary", 1), apply: renamed },
        Upgrade { from: ("round", 1), to: ("round", 1), apply: renamed },
    ];
    let known = Known { upgrades: UPGRADES, ..PRESENT };
    let mut b = Builder::new("g");
    let x = b.input("x", TensorType::new(DType::F32, vec![Dim::symbol("n")]));
    let y = b.unary(UnaryOp::Neg, x).unwrap();
    b.output("y", y);
    let g = b.finish();
    let old = |version, attributes: bool| {
        forged(&saved(&g), |m| {
            m.operators[1] = proto::Operator { name: "old".into(), version };
            if !attributes {
                m.graphs[0].nodes[1].attributes.clear();
            }
        })
    };
    let read = |bytes: Vec<u8>| decode_as(Bytes::from(bytes), &mut no_file, known);
    assert_same(&g, &read(old(1, false)).unwrap());
    let failed = read(old(2, true)).unwrap_err().to_string();
    assert!(failed.contains("'old' of version 2: unexpected Text(\"neg\")"), "{failed}");
    assert!(read(old(3, true)).unwrap_err().to_string().contains("unknown"));
    assert!(known.way("round", 1).is_err(), "a circle ends");

    static NEWER: [OpRow; 1] = [OpRow {
        kind: OpKind::Unary,
        name: "unary",
        min_arity: 1,
        max_arity: 1,
        class: OpClass::Elementwise,
        version: 3,
    }];
    let gap = Known { table: &NEWER, upgrades: &[] };
    assert!(gap.way("unary", 2).err().unwrap().contains("no upgrade leads on"));
    assert!(gap.way("unary", 3).is_ok() && TABLE.len() > 1);
}

#[test]
fn invalid_graphs_are_not_written() {
    let mut g = everything();
    g.outputs[0].name = g.outputs[1].name.clone();
    let error = write(&g, &Weights::Inside, &mut vec![]).unwrap_err();
    assert!(error.to_string().contains("not unique"), "{error}");
}

#[test]
fn a_deep_graph_is_saved_on_a_small_stack() {
    let work = || {
        let mut b = Builder::new("chain");
        let mut x = b.input("x", TensorType::new(DType::F32, vec![Dim::symbol("n")]));
        for k in 0..100_000 {
            x = b.unary(if k % 2 == 0 { UnaryOp::Neg } else { UnaryOp::Abs }, x).unwrap();
        }
        b.output("y", x);
        let g = b.finish();
        assert_same(&g, &loaded(&saved(&g)).unwrap());
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap().join().unwrap();
}
