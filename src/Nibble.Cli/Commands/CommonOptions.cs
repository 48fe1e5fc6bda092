using System.CommandLine;
using Nibble.Kernels;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Cli.Commands;

/// <summary>Options that several commands share, with one meaning each.</summary>
internal static class CommonOptions
{
    public static Option<string> Model() => new("--model") { Description = "The model's folder.", HelpName = "DIR", Required = true };

    public static Option<string?> Adapter() => new("--adapter") { Description = "An adapter's folder (PEFT).", HelpName = "DIR" };

    public static Option<string> Out() => new("--out") { Description = "The folder to write; must be new or empty.", HelpName = "DIR", Required = true };

    public static Option<string?> DType() => new("--dtype") { Description = "Compute dtype: float32, bfloat16 or float16; by default the checkpoint's." };

    public static Option<string> Device() => new("--device")
    {
        Description = "Where to compute: auto (the first GPU that can be used, else the CPU), cpu, or cuda:N.",
        HelpName = "DEVICE",
        DefaultValueFactory = _ => ComputeDevice.Auto,
    };

    public static Option<bool> Json() => new("--json") { Description = "Machine output alone on standard output." };

    /// <summary>Loads a model, and an adapter onto it, and says where they compute.</summary>
    public static (DecoderModel Model, LoraAdapter? Adapter) Load(string folder, string? adapter, string? dtype, string device, CancellationToken cancellation)
    {
        string? choice = null;
        var options = new LoadOptions
        {
            DType = dtype is null ? null : DTypeNames.Parse(dtype),
            Device = ComputeDevice.Choose(device, note => choice = note),
        };
        DecoderModel model = Progress.Load(folder, options, cancellation);
        try
        {
            LoraAdapter? attached = adapter is null ? null : AdapterFolder.Load(model, adapter);
            if (choice is not null)
            {
                Console.Error.WriteLine(choice);
            }

            return (model, attached);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>The tokenizer of a model's folder.</summary>
    public static HfTokenizer Tokenizer(string folder) =>
        Directory.Exists(folder) ? HfTokenizer.FromPretrained(folder) : throw new InvalidDataException($"{folder} is not a folder.");

    /// <summary>Fills the output folder; if that fails, it is as empty as before.</summary>
    public static void Fill(string folder, Action write)
    {
        bool existed = Directory.Exists(folder);
        RequireNew(folder);
        try
        {
            write();
        }
        catch
        {
            Directory.Delete(folder, recursive: true);
            if (existed)
            {
                Directory.CreateDirectory(folder);
            }

            throw;
        }
    }

    /// <summary>Makes the output folder, and refuses one that holds something.</summary>
    public static void RequireNew(string folder)
    {
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any())
        {
            throw new UsageException($"{folder} is not empty; choose another --out.");
        }

        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception exception) when (exception is UnauthorizedAccessException or IOException)
        {
            throw new InvalidDataException($"{folder} cannot be made: {exception.Message}", exception);
        }
    }
}
