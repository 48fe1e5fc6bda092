using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Commands;
using Nibble.Cli.Registry;
using Nibble.Data;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
using Nibble.Training;
using Nibble.Training.Configuration;

namespace Nibble.Cli.Quickstart;

/// <summary>Evaluates the base model on a skill it does not have, trains it with QLoRA, and evaluates again.</summary>
internal static class QuickstartRun
{
    private static string BaseFolder => Path.Combine(AppContext.BaseDirectory, "Quickstart", "Base");

    public static void Run(string folder, CancellationToken cancellation)
    {
        CommonOptions.RequireNew(folder);
        var clock = Stopwatch.StartNew();
        var names = new HashSet<string>();
        TrainingExample[] test = [.. Corpus.Examples(100, seed: 2, names)];
        TrainingExample[] train = [.. Corpus.Examples(2000, seed: 3, names)];
        Corpus.Write(Path.Combine(folder, "train.jsonl"), train);
        Corpus.Write(Path.Combine(folder, "test.jsonl"), test);

        Console.WriteLine("Skill: turn a sentence about a person into JSON. Held-out people: 100.");
        string[] before = Answers(adapter: null, test, cancellation);
        Console.WriteLine($"Before: {Correct(before, test)} of {test.Length} exactly right.");

        RunConfig config = ConfigBinder.Load(null,
        [
            $"model={BaseFolder}", "method=qlora", "dtype=bfloat16", $"output_dir={Path.Combine(folder, "adapter")}",
            $"data.train={Path.Combine(folder, "train.jsonl")}", "data.max_length=512",
            "lora.r=16", "lora.lora_alpha=32", "lora.lora_dropout=0", "lora.target_modules=[all-linear]",
            "lora.modules_to_save=[lm_head]", // Quotes and braces are new to it, so the output head learns as well.
            "training.num_train_epochs=3", "training.per_device_train_batch_size=4", "training.gradient_accumulation_steps=1", "training.learning_rate=0.004",
            "training.logging_steps=20", "training.save_steps=1000",
        ]);
        TrainingResult result = RegisteredRun.Train(config, quiet: false, resume: false, profile: false, cancellation);

        string[] after = Answers(Path.Combine(folder, "adapter"), test, cancellation);
        for (int i = 0; i < 3; i++)
        {
            Console.WriteLine();
            Console.WriteLine($"  {test[i].Input}");
            Console.WriteLine($"  before  {before[i].ReplaceLineEndings(" / ")}");
            Console.WriteLine($"  after   {after[i]}");
        }

        Console.WriteLine();
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"Exactly right: {Correct(before, test)} of {test.Length} before, {Correct(after, test)} after {result.Steps} steps on {result.TrainableParameters:N0} of {result.TotalParameters:N0} parameters; {clock.Elapsed.TotalSeconds:0} s in all."));
        Console.WriteLine($"Adapter, metrics and report.html are in {Path.Combine(folder, "adapter")}");
    }

    private static int Correct(string[] answers, TrainingExample[] examples) => answers.Zip(examples).Count(pair => pair.First == pair.Second.Output);

    private static string[] Answers(string? adapter, TrainingExample[] examples, CancellationToken cancellation)
    {
        using DecoderModel model = ModelLoader.Load(BaseFolder, new LoadOptions { QuantizeNf4 = true });
        using LoraAdapter? attached = adapter is null ? null : AdapterFolder.Load(model, adapter);
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(BaseFolder);
        var options = new GenerationOptions { MaxNewTokens = 100 };
        return
        [
            .. examples.Chunk(25).SelectMany(chunk =>
                TextGenerator.Generate(model, [.. chunk.Select(item => tokenizer.Encode(item.Prompt, addSpecialTokens: true))], options, cancellation: cancellation))
                .Select(ids => tokenizer.Decode(ids, skipSpecialTokens: true)),
        ];
    }
}
