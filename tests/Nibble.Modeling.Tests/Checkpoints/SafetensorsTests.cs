using System.Buffers.Binary;
using System.Text;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Tests;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Tests.Checkpoints;

public class SafetensorsTests
{
    [Theory]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "should have")]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, "should have")]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "needs 12")]
    [InlineData("{\"a\":{\"dtype\":\"F99\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype 'F99'")]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "impossible byte range")]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "impossible shape")]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9223372036854775807],\"data_offsets\":[0,8]}}", 8, "'a'")]
    [InlineData("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6, "overlap")]
    [InlineData("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[6,8]}}", 8, "hole")]
    [InlineData("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "malformed")]
    [InlineData("[1,2]", 0, "not a JSON object")]
    [InlineData("{\"a\":", 0, "malformed")]
    public void A_header_that_lies_is_refused_before_it_is_used(string header, int dataBytes, string part)
    {
        using var folder = new TempFolder();
        byte[] json = Encoding.UTF8.GetBytes(header);
        var file = new byte[8 + json.Length + dataBytes];
        BinaryPrimitives.WriteInt64LittleEndian(file, json.Length);
        json.CopyTo(file, 8);
        File.WriteAllBytes(folder["x.safetensors"], file);
        var exception = Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(folder["x.safetensors"]));
        Assert.Contains(part, exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', exception.Message);
    }

    [Fact]
    public void Any_corruption_of_a_real_file_ends_in_an_error_or_in_a_readable_file()
    {
        byte[] original = File.ReadAllBytes(SharedFolder.Path("models", "stories260K", "hf", "model.safetensors"));
        using var folder = new TempFolder();
        var random = new Random(1);
        for (int i = 0; i < 200; i++)
        {
            byte[] damaged = original[..(i % 4 == 0 ? random.Next(original.Length) : original.Length)];
            for (int change = 0; change < 3 && damaged.Length > 0; change++)
            {
                damaged[random.Next(Math.Min(damaged.Length, 4000))] = (byte)random.Next(256);
            }

            File.WriteAllBytes(folder["x.safetensors"], damaged);
            try
            {
                using SafetensorsFile file = SafetensorsFile.Open(folder["x.safetensors"]);
                foreach (string name in file.Tensors.Keys)
                {
                    file.View(name).Dispose();
                }
            }
            catch (InvalidDataException)
            {
            }
        }
    }

    [Fact]
    public void Tensors_survive_a_round_trip_and_a_failed_write_leaves_the_old_file()
    {
        using var folder = new TempFolder();
        using DisposeScope scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor> { ["b"] = arange(6).view(2, 3).to(ScalarType.BFloat16), ["a"] = tensor(new float[] { 1, 2, 3 }) };
        SafetensorsWriter.Write(folder["x.safetensors"], tensors);
        byte[] written = File.ReadAllBytes(folder["x.safetensors"]);
        using (SafetensorsFile file = SafetensorsFile.Open(folder["x.safetensors"]))
        {
            Assert.All(tensors, item => Assert.True(file.View(item.Key).allclose(item.Value)));
        }

        var failing = new TensorToWrite("c", ScalarType.Float32, [2], () => throw new IOException("No space left on device"));
        Assert.Throws<IOException>(() => SafetensorsWriter.Write(folder["x.safetensors"], [failing]));
        Assert.Equal(written, File.ReadAllBytes(folder["x.safetensors"]));
        Assert.Single(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void A_folder_that_holds_only_a_pickle_is_refused_with_the_reason()
    {
        using ModelCopy model = new();
        File.Move(model["model.safetensors"], model["pytorch_model.bin"]);
        Assert.Contains("can run code", model.LoadError(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"", "'mamba', which is not supported")]
    [InlineData("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "'hidden_act' is \"gelu\"")]
    [InlineData("\"use_cache\": true", "\"logit_scale\": 2", "'logit_scale' (= 2) is not known")]
    [InlineData("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"longrope\"}", "'longrope'")]
    [InlineData("\"hidden_size\": 64", "\"hidden_size\": \"wide\"", "'hidden_size' is \"wide\"")]
    [InlineData("\"num_key_value_heads\": 4", "\"num_key_value_heads\": 3", "does not divide")]
    [InlineData("\"intermediate_size\": 172", "\"intermediate_size\": 170", "has shape [172, 64], but config.json makes it [170, 64]")]
    [InlineData("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 4", "have no place in this architecture")]
    [InlineData("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 6", "no tensor 'model.layers.5.")]
    public void A_configuration_that_the_decoder_cannot_follow_is_refused_by_name(string old, string with, string part)
    {
        using ModelCopy model = new();
        string config = File.ReadAllText(model["config.json"]);
        Assert.Contains(old, config, StringComparison.Ordinal);
        File.WriteAllText(model["config.json"], config.Replace(old, with, StringComparison.Ordinal));
        Assert.Contains(part, model.LoadError(), StringComparison.Ordinal);
    }

    [Fact]
    public void Weights_that_are_not_numbers_are_refused_by_name()
    {
        using ModelCopy model = new();
        using (SafetensorsFile file = SafetensorsFile.Open(model["model.safetensors"]))
        {
            long offset = file.Tensors["model.layers.2.mlp.up_proj.weight"].Offset;
            byte[] bytes = File.ReadAllBytes(model["model.safetensors"]);
            BinaryPrimitives.WriteSingleLittleEndian(bytes.AsSpan((int)offset), float.NaN);
            File.WriteAllBytes(model["damaged"], bytes);
        }

        File.Move(model["damaged"], model["model.safetensors"], overwrite: true);
        Assert.Contains("'model.layers.2.mlp.up_proj.weight' has values that are NaN", model.LoadError(), StringComparison.Ordinal);
    }

    /// <summary>A model folder that a test may damage.</summary>
    private sealed class ModelCopy : IDisposable
    {
        private readonly TempFolder folder = new();

        public ModelCopy()
        {
            foreach (string file in Directory.GetFiles(SharedFolder.Path("models", "stories260K", "hf")))
            {
                File.WriteAllBytes(folder[Path.GetFileName(file)], File.ReadAllBytes(file));
            }
        }

        public string this[string name] => folder[name];

        public string LoadError() => Assert.Throws<InvalidDataException>(() => { ModelLoader.Load(folder.Path).Dispose(); }).Message;

        public void Dispose() => folder.Dispose();
    }
}
