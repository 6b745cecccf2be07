//! Generates the Rust types of `proto/onnx.proto`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/onnx.proto");
    let files = protox::compile(["proto/onnx.proto"], ["proto"])?;
    // `bytes` fields share the buffer they are decoded from, so weights stay in the mapped file.
    prost_build::Config::new().bytes(["."]).compile_fds(files)?;
    Ok(())
}
