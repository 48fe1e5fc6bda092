using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Cli.Commands.Eval;

/// <summary>A model that is measured, with its adapter and tokenizer.</summary>
internal sealed class LoadedModel : IDisposable
{
    private LoraAdapter? adapter;

    public LoadedModel(string folder, string? adapter, string? dtype, string device, CancellationToken cancellation)
    {
        Folder = folder;
        Tokenizer = ModelWriter.HasTokenizer(folder) ? CommonOptions.Tokenizer(folder) : null;
        (Model, this.adapter) = CommonOptions.Load(folder, adapter, dtype, device, cancellation);
    }

    public string Folder { get; }

    public DecoderModel Model { get; }

    /// <summary>Null where the folder has none.</summary>
    public HfTokenizer? Tokenizer { get; }

    public HfTokenizer RequiredTokenizer => Tokenizer ?? throw new InvalidDataException($"{Folder} has no tokenizer, which metrics of answers and choices need.");

    /// <summary>Leaves the base model alone.</summary>
    public void DetachAdapter()
    {
        adapter?.Dispose();
        adapter = null;
    }

    public void Dispose()
    {
        DetachAdapter();
        Model.Dispose();
    }
}
