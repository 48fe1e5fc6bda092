using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;

namespace Nibble.Modeling.Tests.Tokenizers;

/// <summary>Folders whose only vocabulary is a tiktoken file, against the same vectors as their tokenizer.json.</summary>
public class TiktokenTests
{
    [Theory]
    [InlineData("llama3", "tokenizer.model")]
    [InlineData("qwen2", "qwen.tiktoken")]
    public void A_tiktoken_file_encodes_decodes_and_aligns_like_its_tokenizer_json(string name, string file)
    {
        using TempFolder folder = Folder(name, file);
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(folder.Path);
        TokenizerVectorTests.MatchHardStrings(tokenizer, name);
        TokenizerVectorTests.MatchThirdParties(tokenizer, name);

        HfTokenizer json = HfTokenizer.FromPretrained(SharedFolder.Path("vectors", "tokenizers", name));
        Assert.Equal((json.VocabSize, json.BosId, json.EosId, json.PadId), (tokenizer.VocabSize, tokenizer.BosId, tokenizer.EosId, tokenizer.PadId));
        Assert.All(Enumerable.Range(0, json.VocabSize), id => Assert.Equal(json.IdToToken(id), tokenizer.IdToToken(id)));
    }

    [Theory]
    [InlineData("llama3", "tokenizer.model", "llama", "<|begin_of_text|>Hi<|eot_id|>", new[] { 128000, 128000, 13347, 128009 })]
    [InlineData("qwen2", "qwen.tiktoken", "qwen2", "Hi<|im_end|>", new[] { 13048, 151645 })]
    public void Where_no_special_tokens_are_listed_the_familys_own_are_known_by_the_models_type(string name, string file, string modelType, string text, int[] ids)
    {
        using TempFolder folder = Folder(name, file);
        File.Delete(folder["tokenizer_config.json"]);
        File.WriteAllText(folder["config.json"], $$"""{"model_type": "{{modelType}}"}""");
        Assert.Equal(ids, HfTokenizer.FromPretrained(folder.Path).Encode(text, addSpecialTokens: true));
    }

    [Fact]
    public void A_file_of_unknown_pattern_is_refused_by_name()
    {
        using TempFolder folder = Folder("qwen2", "qwen.tiktoken");
        File.WriteAllText(folder["tokenizer_config.json"], """{"tokenizer_class": "XTokenizer"}""");
        File.WriteAllText(folder["config.json"], """{"model_type": "x"}""");
        string message = Refused(folder);
        Assert.StartsWith($"{folder["qwen.tiktoken"]} does not say how text is cut into pieces; that is known for Llama 3 and Qwen", message);
        Assert.Contains("tokenizer_class 'XTokenizer'", message);
        Assert.Contains("model_type 'x'", message);
    }

    [Fact]
    public void Several_tiktoken_files_are_refused_by_name()
    {
        using TempFolder folder = Folder("qwen2", "qwen.tiktoken");
        File.WriteAllText(folder["extra.tiktoken"], "");
        Assert.Contains("extra.tiktoken, qwen.tiktoken", Refused(folder));
    }

    [Theory]
    [InlineData("llama3", "tokenizer.model", "Qwen2Tokenizer", ":128000: ends after 128000 tokens; Qwen has 151643.")]
    [InlineData("qwen2", "qwen.tiktoken", "LlamaTokenizer", ":151643: ends after 151643 tokens; Llama 3 has 128000.")]
    public void A_vocabulary_that_is_not_the_named_familys_is_refused(string name, string file, string tokenizerClass, string expected)
    {
        using TempFolder folder = Folder(name, file);
        File.WriteAllText(folder["tokenizer_config.json"], $$"""{"tokenizer_class": "{{tokenizerClass}}"}""");
        Assert.StartsWith($"{folder[file]}{expected}", Refused(folder));
    }

    [Theory]
    [InlineData(1000, null, ":1000: ends after 1000 tokens; Llama 3 has 128000.")]
    [InlineData(1000, "IGFi", ":1001: expected a token in base64 and its rank, 1000; found 'IGFi'.")]
    [InlineData(1000, "IGFi 10", ":1001: expected a token in base64 and its rank, 1000; found 'IGFi 10'.")]
    [InlineData(1000, "I?Fi 1000", ":1001: expected a token in base64 and its rank, 1000; found 'I?Fi 1000'.")]
    [InlineData(1000, "IQ== 1000", ":1001: 'IQ==' is a token already.")]
    [InlineData(0, "version https://git-lfs.github.com/spec/v1", ":1: expected a token in base64 and its rank, 0; found 'version https://git-lfs.github.com/spec/'...")]
    public void A_damaged_file_is_refused_with_its_line(int lines, string? last, string expected)
    {
        using TempFolder folder = Folder("llama3", "tokenizer.model");
        string path = folder["tokenizer.model"];
        string[] kept = [.. File.ReadLines(path).Take(lines)];
        File.WriteAllLines(path, last is null ? kept : [.. kept, last]);
        string message = Refused(folder);
        Assert.StartsWith($"{path}{expected}", message);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void A_byte_without_a_token_is_refused()
    {
        using TempFolder folder = Folder("llama3", "tokenizer.model");
        string path = folder["tokenizer.model"];
        string[] lines = File.ReadAllLines(path);
        lines[0] = $"{Convert.ToBase64String("not a token of Llama"u8)} 0";
        File.WriteAllLines(path, lines);
        Assert.Equal($"{path} has no token for the byte 0x21.", Refused(folder));
    }

    [Fact]
    public void A_tiktoken_file_goes_with_its_model()
    {
        using TempFolder source = Folder("qwen2", "qwen.tiktoken");
        using var copy = new TempFolder();
        ModelWriter.CopyCompanions(source.Path, copy.Path);
        Assert.True(ModelWriter.HasTokenizer(copy.Path));
        Assert.Equal([13048, 151645], HfTokenizer.FromPretrained(copy.Path).Encode("Hi<|im_end|>", addSpecialTokens: true));
    }

    private static string Refused(TempFolder folder) => Assert.Throws<InvalidDataException>(() => HfTokenizer.FromPretrained(folder.Path)).Message;

    /// <summary>The vocabulary file and tokenizer_config.json alone.</summary>
    private static TempFolder Folder(string name, string file)
    {
        var folder = new TempFolder();
        foreach (string part in new[] { file, "tokenizer_config.json" })
        {
            File.WriteAllBytes(folder[part], File.ReadAllBytes(SharedFolder.Path("vectors", "tokenizers", name, part)));
        }

        return folder;
    }
}
