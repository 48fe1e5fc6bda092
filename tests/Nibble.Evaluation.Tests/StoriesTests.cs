using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Nibble.Evaluation.Likelihood;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Evaluation.Tests;

/// <summary>A real trained model against the C program of its author.</summary>
public class StoriesTests
{
    private static readonly string[] Reference = ["models", "stories260K", "reference"];

    [Fact]
    public void Logits_are_within_a_thousandth_and_greedy_text_is_equal_to_the_token()
    {
        using DecoderModel model = ModelLoader.Load(SharedFolder.Path("models", "stories260K", "hf"));
        JsonNode reference = JsonNode.Parse(File.ReadAllText(SharedFolder.Path([.. Reference, "reference.json"])))!;
        int index = 0;
        foreach (JsonNode? item in reference["greedy"]!.AsArray())
        {
            using DisposeScope scope = NewDisposeScope();
            int[] prompt = Ints(item!["prompt_ids"]);
            int[] ids = Ints(item["ids"]);
            var options = new GenerationOptions { MaxNewTokens = ids.Length - prompt.Length, EosTokenIds = [1, 2] };
            int[] found = TextGenerator.Generate(model, [prompt], options)[0];
            int[] expected = ids[prompt.Length..];
            Assert.Equal(expected, found.Take(expected.Length));
            AssertLogits(model, ids[..24], $"logits_{index++}.f32", 1e-3f);
        }
    }

    [Theory]
    [InlineData("hf")]
    [InlineData("hf_bf16")]
    [InlineData("hf_f16")]
    [InlineData("hf_v5_sharded")]
    public void Every_variant_of_the_folder_gives_the_logits_of_transformers(string variant)
    {
        using DisposeScope scope = NewDisposeScope();
        using DecoderModel model = ModelLoader.Load(SharedFolder.Path("models", "stories260K", variant), new LoadOptions { DType = ScalarType.Float32 });
        JsonNode variants = JsonNode.Parse(File.ReadAllText(SharedFolder.Path([.. Reference, "hf_variants.json"])))!;
        AssertLogits(model, Ints(variants["input_ids"]), $"hf_logits_{variant}.f32", 1e-4f);
    }

    [Fact]
    public void Computing_in_bfloat16_stays_as_close_as_the_peer_does()
    {
        using DisposeScope scope = NewDisposeScope();
        using DecoderModel model = ModelLoader.Load(SharedFolder.Path("models", "stories260K", "hf_bf16"), new LoadOptions { DType = ScalarType.BFloat16 });
        JsonNode variants = JsonNode.Parse(File.ReadAllText(SharedFolder.Path([.. Reference, "hf_variants.json"])))!;
        AssertLogits(model, Ints(variants["input_ids"]), "hf_logits_hf.f32", (float)variants["bf16_compute_max_abs_diff_vs_fp32"]!);
    }

    [Fact]
    public void Negative_log_likelihoods_of_real_stories_are_within_a_ten_thousandth()
    {
        string folder = SharedFolder.Path("models", "stories260K", "hf");
        using DecoderModel model = ModelLoader.Load(folder);
        // The reference was tokenized by sentencepiece, which unlike tokenizer.json removes repeated spaces.
        using var sentencePiece = new TempFolder();
        File.WriteAllBytes(sentencePiece["tokenizer.model"], File.ReadAllBytes(Path.Combine(folder, "tokenizer.model")));
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(sentencePiece.Path);
        JsonNode reference = JsonNode.Parse(File.ReadAllText(SharedFolder.Path([.. Reference, "tinystories_nll.json"])))!;
        string[] stories = File.ReadAllText(SharedFolder.Path("data", "text", "tinystories_train_sample.txt")).Split("<|endoftext|>");
        foreach (JsonNode? item in reference["stories"]!.AsArray())
        {
            int[] ids = [.. tokenizer.Encode(stories[(int)item!["index"]!].Trim(), addSpecialTokens: true).Take(512)];
            EvaluationLoss loss = EvaluationLoss.Of(model, [TokenBatch.Of(ids)]);
            Assert.Equal((double)item["mean_nll"]!, loss.Mean, 1e-4);
        }
    }

    private static void AssertLogits(DecoderModel model, int[] ids, string file, float tolerance)
    {
        using IDisposable noGrad = no_grad();
        float[] expected = MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(SharedFolder.Path([.. Reference, file]))).ToArray();
        float[] found = model.Logits(model.Forward(TokenBatch.Of(ids))).data<float>().ToArray();
        Assert.Equal(expected.Length, found.Length);
        float worst = expected.Zip(found, (a, b) => Math.Abs(a - b)).Max();
        Assert.True(worst <= tolerance, $"{file}: logits differ by {worst}");
    }

    private static int[] Ints(JsonNode? node) => [.. node!.AsArray().Select(value => (int)value!)];
}
