//! `fornax dump`.

use fornax::Stage;
use fornax::graph_file::{self, Format, SaveOptions, Weights};

use crate::args::DumpArgs;
use crate::failure::Failure;
use crate::{loading, output};

/// Prints a model at a stage of compilation, or writes it to a file.
pub fn dump(args: &DumpArgs) -> Result<(), Failure> {
    let options = loading::options(&args.target)?;
    let binary = |path| Format::of_name(path) == Some(Format::Binary);
    let saves_binary = args.stage == Stage::Graph && args.output.as_deref().is_some_and(binary);
    if args.weights == Weights::Safetensors && !saves_binary {
        return Err(Failure::input("--weights beside is for a graph written as .fnxb"));
    }
    if let Some(path) = &args.output
        && args.stage == Stage::Graph
        && matches!(Format::of_name(path), Some(Format::Binary | Format::Text))
    {
        let graph = fornax::graph_of(&args.model, &options)?;
        graph_file::save(&graph, path, &SaveOptions::default().weights(args.weights))?;
        return Ok(());
    }
    let bar = loading::spinner(format!("compiling {}", loading::name(&args.model)));
    let text = fornax::dump(&args.model, args.stage, &options);
    bar.finish_and_clear();
    match &args.output {
        None => output::text(&text?),
        Some(path) => {
            let text = text?;
            let write =
                fornax::ir::file::write_whole(path, |to| std::io::Write::write_all(to, text.as_bytes()));
            write.map_err(|e| Failure::input(format_args!("{}: {e}", path.display())))
        }
    }
}
