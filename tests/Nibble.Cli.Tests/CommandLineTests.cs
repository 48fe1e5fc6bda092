using System.Text.Json.Nodes;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>The program as its users start it.</summary>
[Collection("nibble")]
public class CommandLineTests : NibbleProgram
{
    private static string[] Model => ["--model", SharedFolder.Path("models", "stories260K", "hf")];

    [Fact]
    public void A_run_trains_saves_loads_merges_and_evaluates_alike()
    {
        string data = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl");
        using var folder = new TempFolder();
        Result train = Nibble(
            "train", "--json", "--set", $"model={Model[1]}", "--set", "method=qlora", "--set", "dtype=float32", "--set", "quantization.bnb_4bit_compute_dtype=float32",
            "--set", $"data.train={data}", "--set", "data.eval_ratio=0.2", "--set", $"output_dir={folder["out"]}", "--set", "training.max_steps=6",
            "--set", "training.learning_rate=0.005", "--set", "training.eval_steps=3", "--set", "training.save_steps=3");
        Assert.Equal(0, train.Code);
        Assert.Equal(6, (int)JsonNode.Parse(train.Output)!["steps"]!);
        Assert.Equal(0, Nibble("merge", Model[0], Model[1], "--adapter", folder["out"], "--out", folder["merged"]).Code);
        Assert.Equal(0, Nibble("quantize", Model[0], Model[1], "--out", folder["nf4"]).Code);
        double adapted = Loss(Nibble("eval", "--model", folder["nf4"], "--adapter", folder["out"], "--data", data, "--json"));
        double merged = Loss(Nibble("eval", "--model", folder["merged"], "--data", data, "--json"));
        double before = Loss(Nibble("eval", Model[0], Model[1], "--data", data, "--json"));
        Assert.Equal(adapted, merged, 1e-4);
        Assert.True(adapted < before, $"loss {adapted} after training, {before} before");
        Assert.Equal(0, Nibble("merge", Model[0], Model[1], "--adapter", Path.Combine(folder["out"], "checkpoint-6"), "--out", folder["checkpoint"]).Code);
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder["merged"], "model.safetensors")), File.ReadAllBytes(Path.Combine(folder["checkpoint"], "model.safetensors")));

        Result again = Nibble("train", "--set", $"model={Model[1]}", "--set", $"data.train={data}", "--set", $"output_dir={folder["out"]}");
        Assert.Equal(1, again.Code);
        Assert.Contains("another run", again.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_dry_run_shows_configuration_data_and_the_loss_mask_and_writes_nothing()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["data.jsonl"], "{\"instruction\": \"Say hi.\", \"input\": \"\", \"output\": \"hi there\"}\n");
        Result result = Nibble("train", "--dry-run", "--set", $"model={Model[1]}", "--set", $"data.train={folder["data.jsonl"]}", "--set", $"output_dir={folder["out"]}");
        Assert.Equal(0, result.Code);
        Assert.Contains("### Response:\n[[hi there</s>]]", result.Output, StringComparison.Ordinal);
        Assert.Contains("\"learning_rate\": 0.0002", result.Output, StringComparison.Ordinal);
        Assert.Contains("Memory: about", result.Output, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["out"]));

        JsonNode report = JsonNode.Parse(Nibble("train", "--dry-run", "--json", "--set", $"model={Model[1]}", "--set", $"data.train={folder["data.jsonl"]}").Output)!;
        Assert.Equal("q_proj", (string)report["config"]!["lora"]!["target_modules"]![0]!);
        Assert.Equal("hi there</s>", string.Concat(report["first_example"]!.AsArray().Where(piece => (bool)piece!["learned"]!).Select(piece => (string)piece!["text"]!)));
        Assert.Equal(1, (int)report["train_examples"]!);
        Assert.Null(report["plan"]);
    }

    [Fact]
    public void A_dry_run_proposes_what_to_change_for_given_memory()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["data.jsonl"], "{\"instruction\": \"Say hi.\", \"input\": \"\", \"output\": \"hi there\"}\n");
        string[] dryRun =
        [
            "train", "--dry-run", "--device", "cuda:0", "--set", $"model={Model[1]}", "--set", $"data.train={folder["data.jsonl"]}",
            "--set", "training.per_device_train_batch_size=256",
        ];
        string small = Nibble([.. dryRun, "--memory", "700MiB"]).Output;
        Assert.Contains("inside of one layer ", small, StringComparison.Ordinal);
        Assert.Contains("--set training.per_device_train_batch_size=", small, StringComparison.Ordinal);
        Assert.Contains("It fits into 8.0 GiB.", Nibble([.. dryRun, "--memory", "8GiB"]).Output, StringComparison.Ordinal);
        Assert.Contains("whatever is changed", Nibble([.. dryRun, "--memory", "1MB"]).Output, StringComparison.Ordinal);

        JsonNode report = JsonNode.Parse(Nibble([.. dryRun, "--memory", "700MiB", "--json"]).Output)!;
        Assert.True((bool)report["plan"]!["fits"]!);
        Assert.Equal((long)report["memory"]!["total"]!, (long)report["plan"]!["needed"]!);
        string[] settings = [.. report["plan"]!["changes"]!.AsArray().SelectMany(change => new[] { "--set", $"{change!["key"]}={change["to"]}" })];
        Assert.Equal((long)report["plan"]!["least"]!, (long)JsonNode.Parse(Nibble([.. dryRun, .. settings, "--json"]).Output)!["memory"]!["total"]!);
    }

    [Fact]
    public void Text_is_generated_tokenized_and_rendered()
    {
        Result generated = Nibble("generate", Model[0], Model[1], "--prompt", "Once upon a time", "--max-new-tokens", "8", "--json");
        Assert.Equal(8, JsonNode.Parse(generated.Output)!["ids"]!.AsArray().Count);
        Assert.NotEmpty((string)JsonNode.Parse(generated.Output)!["text"]!);
        JsonNode stopped = JsonNode.Parse(Nibble("generate", Model[0], Model[1], "--prompt", "Once upon a time", "--stop", "ttle g", "--stop", "!!", "--json").Output)!;
        Assert.Equal(", there was a li", (string)stopped["text"]!);
        Assert.True(stopped["ids"]!.AsArray().Count < 20, "generation went on after the stop string");
        using var folder = new TempFolder();
        File.WriteAllText(folder["texts.jsonl"], "{\"text\": \"Once\"}\n{\"text\": \"\"}\n");
        string[] lines = Run([], "tokenize", Model[0], Model[1], "--file", folder["texts.jsonl"]).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(["{\"ids\":[403]}", "{\"ids\":[]}"], lines);
        Assert.Equal("Once", Nibble("tokenize", Model[0], Model[1], "--decode", "--text", "403").Output.Trim());
        File.WriteAllText(folder["t.jinja"], "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}");
        File.WriteAllText(folder["m.json"], "[{\"role\": \"user\", \"content\": \"a\\ud83d\\ude00\"}]");
        JsonNode rendered = JsonNode.Parse(Nibble("render", "--template", folder["t.jinja"], "--messages", folder["m.json"], "--json").Output)!;
        Assert.Equal("a\U0001F600;", (string)rendered["text"]!);
        Assert.Equal("[[0,2]]", rendered["generation_spans"]!.ToJsonString());
    }

    [Fact]
    public void Info_lists_the_GPUs_and_says_why_they_are_not_used()
    {
        JsonNode none = JsonNode.Parse(Nibble("info", "--json").Output)!;
        Assert.Empty(none["gpus"]!.AsArray());
        Assert.Equal("there is no NVIDIA driver (/nonexistent/libcuda.so cannot be loaded)", (string)none["no_gpu_because"]!);
        Assert.Contains("no_gpu_because", Nibble("info").Output, StringComparison.Ordinal);

        string emulation = Emulation();
        JsonNode some = JsonNode.Parse(Run([("NIBBLE_CUDA_DRIVER", emulation)], "info", "--json").Output)!;
        Assert.Equal("12.8", (string)some["cuda_driver"]!);
        Assert.Equal(["sm_75", "sm_80", "sm_90"], some["gpus"]!.AsArray().Select(gpu => (string)gpu!["chip"]!));
        Assert.Equal("cuda:2", (string)some["gpus"]![2]!["device"]!);
        Assert.Contains("-p:TorchBackend=cuda", (string)some["no_gpu_because"]!, StringComparison.Ordinal);
        Assert.All(some["gpus"]!.AsArray(), gpu => Assert.NotNull(gpu!["problem"]));
        Assert.Contains("cuda:1 (Emulated Ampere, sm_80, 16 GiB", Run([("NIBBLE_CUDA_DRIVER", emulation)], "info").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_named_libtorch_is_the_one_that_is_used()
    {
        string note = Path.Combine(AppContext.BaseDirectory, "libtorch.path");
        Assert.Equal(0, Run([("NIBBLE_LIBTORCH", File.ReadAllText(note).Trim())], "info").Code);
        using var folder = new TempFolder();
        foreach (string[] command in (string[][])[["info"], ["generate", .. Model, "--prompt", "a"], ["quantize", .. Model, "--out", folder["nf4"]]])
        {
            Result missing = Run([("NIBBLE_LIBTORCH", "/nonexistent")], command);
            Assert.Equal((1, "nibble: NIBBLE_LIBTORCH is /nonexistent, where there is no libtorch_cpu.so."), (missing.Code, missing.Error.Trim()));
        }
    }

    [Fact]
    public void Only_auto_falls_back_to_the_CPU_and_says_so()
    {
        string[] generate = ["generate", .. Model, "--prompt", "Once", "--max-new-tokens", "1"];
        Assert.Equal(
            "Computing on the CPU: there is no NVIDIA driver (/nonexistent/libcuda.so cannot be loaded).", Nibble(generate).Error.Trim());
        Assert.Empty(Nibble([.. generate, "--device", "cpu"]).Error);
        Result refused = Nibble([.. generate, "--device", "cuda:1"]);
        Assert.Equal(1, refused.Code);
        Assert.Equal("nibble: device cuda:1 cannot be used: there is no NVIDIA driver (/nonexistent/libcuda.so cannot be loaded).", refused.Error.Trim());
    }

    [Fact]
    public void A_driver_without_a_GPU_is_like_no_driver()
    {
        const string Reason = "the NVIDIA driver does not start: CUDA_ERROR_NO_DEVICE (CUDA_ERROR_NO_DEVICE)";
        string[] generate = ["generate", .. Model, "--prompt", "Once", "--max-new-tokens", "1"];
        (string, string)[] hidden = [("NIBBLE_CUDA_DRIVER", Emulation()), ("CUDA_VISIBLE_DEVICES", "")];
        Assert.Equal($"Computing on the CPU: {Reason}.", Run(hidden, generate).Error.Trim());
        Result refused = Run(hidden, [.. generate, "--device", "cuda:0"]);
        Assert.Equal((1, $"nibble: device cuda:0 cannot be used: {Reason}."), (refused.Code, refused.Error.Trim()));
    }

    [Theory]
    [InlineData(2, "device is 'gpu'; it must be auto, cpu or cuda:N", "train", "--device", "gpu", "--set", "model=x", "--set", "data.train=y")]
    [InlineData(2, "nearest is 'training'", "train", "--set", "trainin.max_steps=1")]
    [InlineData(2, "model is missing", "train")]
    [InlineData(2, "'8' is no amount of memory", "train", "--dry-run", "--memory", "8")]
    [InlineData(2, "'-1GiB' is no amount of memory", "train", "--dry-run", "--memory", "-1GiB")]
    [InlineData(2, "--memory needs --dry-run", "train", "--memory", "8GiB")]
    [InlineData(2, "--model", "generate", "--prompt", "x")]
    [InlineData(1, "not a folder", "generate", "--model", "/nonexistent", "--input-ids", "1")]
    [InlineData(2, "needs a model folder with a tokenizer", "generate", "--model", "/nonexistent", "--input-ids", "1", "--stop", "x")]
    [InlineData(2, "whole numbers", "generate", "--model", "/nonexistent", "--input-ids", "a,b")]
    [InlineData(2, "'bogus'", "bogus")]
    [InlineData(2, "'trained' 'original'", "merge", "--model", "m", "--adapter", "a", "--out", "o", "--onto", "x")]
    [InlineData(2, "one of --text and --file", "tokenize", "--model", "/nonexistent", "--text", "a", "--file", "b")]
    [InlineData(1, "/nonexistent is not a folder", "tokenize", "--model", "/nonexistent", "--text", "@a")]
    [InlineData(1, "/nonexistent is not a folder", "generate", "--model", "/nonexistent", "--prompt", "@a")]
    [InlineData(1, "does not exist", "render", "--template", "/nonexistent", "--messages", "/nonexistent")]
    public void Wrong_use_is_one_line_on_standard_error_with_the_right_code(int code, string part, params string[] arguments)
    {
        Result result = Nibble(arguments);
        Assert.Equal(code, result.Code);
        Assert.Contains(part, result.Error, StringComparison.Ordinal);
        Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Empty(result.Output);
    }

    [Fact]
    public void A_failed_quantize_or_merge_leaves_the_output_folder_as_it_was()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["empty"]);
        File.WriteAllText(folder["file"], "");
        Assert.Equal(0, Nibble("quantize", Model[0], Model[1], "--out", folder["nf4"]).Code);
        Assert.Equal((1, 1), (Nibble("quantize", "--model", "/nonexistent", "--out", folder["new"]).Code, Nibble("quantize", "--model", "/nonexistent", "--out", folder["empty"]).Code));
        Result merge = Nibble("merge", "--model", folder["nf4"], "--adapter", SharedFolder.Path("vectors", "adapters", "lora_all_r8"), "--out", folder["new"], "--onto", "original");
        Assert.Equal(2, merge.Code);
        Assert.Contains("is stored in NF4", merge.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["new"]));
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder["empty"]));
        Assert.Equal((2, 1), (Nibble("quantize", Model[0], Model[1], "--out", folder["nf4"]).Code, Nibble("quantize", Model[0], Model[1], "--out", folder["file"]).Code));
        Assert.True(File.Exists(Path.Combine(folder["nf4"], "model.safetensors")));
    }

    [Theory]
    [InlineData("null", "there is no text")]
    [InlineData("{\"txt\": 1}", "there is no text")]
    [InlineData("{\"text\": 1}", "'Number'")]
    [InlineData("{", "expected {\"text\"}")]
    public void A_bad_line_of_a_tokenized_file_is_named(string line, string reason)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["texts.jsonl"], "{\"text\": \"Once\"}\n" + line + "\n");
        Result result = Nibble("tokenize", Model[0], Model[1], "--file", folder["texts.jsonl"], "--json");
        Assert.Equal(1, result.Code);
        Assert.Contains("texts.jsonl:2: ", result.Error, StringComparison.Ordinal);
        Assert.Contains(reason, result.Error, StringComparison.Ordinal);
    }

    private static double Loss(Result result) => (double)JsonNode.Parse(result.Output)!["results"]![0]!["details"]!["loss"]!;

    /// <summary>The driver of emulated GPUs; the test skips where it is not built.</summary>
    private static string Emulation()
    {
        string library = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../native/release/simt/libnibble_cuda_emulated.so"));
        Assert.SkipUnless(File.Exists(library), $"{library} is not built: cmake --preset release -DNIBBLE_BUILD_TESTS=ON, in native/.");
        return library;
    }
}
